"""The English words and frames of the built-in posts, in the form that `grammar.read` reads."""

WORDS = """
[domain]
healthcare: for patients | in hospitals | at the bedside | among nurses | in operating theatres | for surgeons |
  in doctors' practices | for people with chronic pain | in pharmacies | on the ward | among midwives |
  in emergency rooms
energy: for power grids | on wind farms | among solar installers | in boiler rooms | for electricity customers |
  at hydro plants | for battery makers | at geothermal wells | among grid engineers | in turbine halls |
  for hydrogen pioneers | in substations
finance: for savers | at bank counters | among brokers | for insurers | in bookkeeping | on the stock exchange |
  for people with a mortgage | in wealth management | among auditors | for pension planners | at the cash desk |
  for lenders
education: for pupils | in classrooms | among teachers | in kindergartens | for apprentices | in lecture halls |
  at evening school | for parents with homework stress | among tutors | in school libraries | for exam candidates |
  in reading groups
transport: for commuters | on the railways | at bus depots | among lorry drivers | for cyclists | in shipping |
  at tram stops | for air passengers | on motorways | among freight forwarders | for ferry crews | in car parks
agriculture: for farmers | in vineyards | on dairy farms | among beekeepers | in greenhouses | for bakers |
  in orchards | at weekly markets | for cattle breeders | among grain millers | on potato fields | for cheese makers
[theme]
recruiting: New colleagues are welcome | Three positions are vacant | Please send your CV | The team keeps growing |
  Talent is wanted | Candidates can apply now | Job interviews start soon | Career changers have a chance |
  Trainees can sign up | More hands are needed | An employment contract awaits you | Staff are urgently sought
funding: Fresh capital is flowing | Investors are on board | The round brings in millions | A grant covers the costs |
  The budget has been doubled | Backers believe in it | The money is there | Shareholders are paying in |
  A loan makes it possible | Sponsors chip in | Venture partners join the cap table | The subsidies are approved
research: The study has been peer reviewed | Fresh data confirm the hypothesis | A dissertation looks into it |
  The experiment worked | Scientists are still measuring | The findings are surprising |
  A prototype stands in the laboratory | Two control groups were tested | The evidence is growing |
  A paper describes the method | The statistics speak clearly | Field trials have begun
regulation: A new law applies | The directive takes effect | Parliament is debating it | Compliance is mandatory |
  The authority checks everything | A permit is required | The court has ruled | Fines are looming |
  The bill has its second reading | Standards are being tightened | Inspectors are on their way |
  Lawyers read the small print
[actor]
startup: a young start-up | a freshly founded firm | a founding duo | a small venture | a newcomer to the market |
  a five-person outfit
university: a university | an old faculty | the rector's office | a graduate school | a professor's chair |
  an academic institute
ministry: the ministry | a government department | the cabinet | a state secretary | the federal administration |
  a minister
city: the city council | the mayor | a town hall | the municipality | a district office | the local assembly
corporation: a listed group | a global corporation | the market leader | an industrial giant | a multinational |
  a conglomerate
union: a trade union | the works council | an employees' association | the workforce | a shop steward |
  the staff committee
charity: a charity | a foundation | a relief organisation | a non-profit | an aid association | a volunteer group
family: a family business | a workshop in its third generation | a father-and-daughter company | a traditional house |
  an owner-managed firm | a craft business
consultants: a consultancy | an advisory firm | a strategist | a management coach | a think tank | a panel of experts
press: a newspaper | a local broadcaster | an editorial office | a podcast host | a reporter | a magazine
retailer: a supermarket chain | an online shop | a department store | a discounter | a mail-order house | a retailer
athletes: a football club | an Olympic champion | a running group | a national trainer | a rowing crew |
  a handball team
[event]
opening: opens its doors | inaugurates a branch | cuts the ribbon | launches a site | starts operations |
  unveils a showroom
closing: shuts down | gives up for good | locks the door forever | lowers the shutters | says goodbye |
  files for insolvency
award: wins a prize | receives a medal | is crowned the best | earns an honour | takes home a trophy |
  gets top marks from the jury
merger: merges with a rival | takes over a competitor | buys its neighbour | swallows a smaller player |
  acquires a majority stake | fuses two brands
contract: signs a contract | shakes hands on a deal | enters a partnership | seals a cooperation | lands a big order |
  agrees on joint work
layoffs: lays off people | shrinks its headcount | tightens its belt | trims costs | saves on personnel |
  cancels the night shift
expansion: grows strongly | expands abroad | doubles its output | enters new markets | adds a second hall |
  breaks the sales record
delay: postpones everything | misses the deadline | asks for more time | is running late | pushes back the start |
  waits for parts
protest: goes on strike | takes to the streets | protests loudly | raises objections | calls for a boycott |
  hands over a petition
mistake: apologises for an error | admits a mishap | recalls a batch | corrects a statement | takes the blame |
  reports a glitch
anniversary: celebrates its anniversary | turns fifty | looks back on decades | throws a birthday party |
  marks a jubilee | blows out the candles
move: moves house | relocates | packs the boxes | changes its address | leaves for another location |
  slips under a new roof
[object]
app: an app | a mobile program | a piece of software | a digital assistant | a web platform | a browser tool
robot: a robot | a mechanical arm | an automaton | a humanoid machine | a self-driving helper | a steel colleague
handbook: a handbook | a guide | a manual | a paperback | a textbook | a reference work
film: a film | a documentary | a video clip | a short movie | a screen portrait | a trailer
drone: a drone | a quadcopter | an unmanned aircraft | a flying camera | a buzzing flyer | an aerial scout
sensor: a sensor | a measuring device | a precise gauge | a probe | a detector | a smart meter
game: a game | a puzzle | a board with dice | a quiz | a playful contest | a console adventure
map: a map | an atlas | a city plan | a chart with routes | a satellite view | a geographic overview
garden: a garden | a green roof | a flower bed | a small park | a planted courtyard | a lawn
hotline: a hotline | a helpline | a phone number for questions | a call centre | an advice line | a telephone desk
survey: a survey | a questionnaire | an opinion poll | a feedback form | a vote | a list with boxes to tick
printer: a 3D printer | a copier | a laser press | a plotter | a typesetting machine | an inkjet
[place]
capital: in the capital | at the seat of government | in the metropolis | near the presidential palace |
  in the centre of power | in the biggest city
coast: on the coast | by the sea | in the harbour | at the beach | near the lighthouse | among the dunes
mountains: in the mountains | at the foot of the glacier | in an alpine valley | up on the pass | near the summit |
  on the high plateau
village: in the village | in the countryside | in a hamlet | between meadows | in a rural parish | far from any city
island: on the island | on an atoll | in the archipelago | off the mainland | surrounded by water | in the lagoon
border: at the border | in the frontier region | by the customs post | between two countries | near the checkpoint |
  close to the neighbouring state
oldtown: in the old town | in the historic quarter | between half-timbered houses | next to the cathedral |
  within the city walls | on cobbled alleys
river: on the river | by the canal | at the lock | along the embankment | near the bridge | at the ferry landing
industrial: in the industrial park | at the former steelworks | in a factory hall | between chimneys |
  on the plant grounds | in the business zone
forest: in the forest | under beeches | in a clearing | near the sawmill | among fir trees | in the nature reserve
north: in the north | near the Arctic Circle | in Lapland | under the polar lights | on the tundra |
  where winter lasts long
online: online | in a video call | on the internet | by livestream | from the home office | in virtual space
[someone]
actor: somebody we know | one name on everyone's lips | a familiar face | an old acquaintance
event: makes headlines | is in the news | surprises us all | has a busy week
[news]
formal: {actor} {event} {place}. | As of today, {actor} {event} {place}. |
  According to reports, {actor} {event} {place}.
announcement: Breaking: {actor} {event} {place}. | It is official: {actor} {event} {place}. |
  This week {actor} {event} {place}.
casual: So {actor} {event} {place}! | Well, well, {actor} {event} {place}. | And then {actor} {event} {place} :)
question: Have you heard that {actor} {event} {place}? | Is it true that {actor} {event} {place}? |
  Who knew that {actor} {event} {place}?
[fact]
any: {theme}.
[impact]
any: Much will change {domain}. | This matters {domain}. | It is already a topic {domain}. |
  There are mixed reactions {domain}. | It raises hopes {domain}. | It means more work {domain}.
[thing]
any: {object} is at the heart of it. | The key: {object}. | {object} makes the difference. | {object} plays a part. |
  {object} is included. | What helps? {object}.
[open]
formal: Good morning, dear network. | For your information: | A short note on the matter. | In brief:
announcement: Big news! | Proud to share this. | Save the date. | Finally!
casual: Honestly? | Friends! | Coffee in hand, I read this. | Wow.
question: A question for the community. | I wonder. | Help me out here. | Quick poll.
[close]
formal: Details will follow. | We thank everyone involved. | Further information on request.
announcement: Stay tuned! | More soon. | Please share.
casual: Love it. | Can't stop smiling. | What a week.
question: What do you think? | Does anyone know more? | Would you do the same?
[query]
question: who {event} {place}{more}?
prefix: news: | posts: | looking for: | topic:
"""
