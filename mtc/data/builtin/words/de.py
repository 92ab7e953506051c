"""The German words and frames of the built-in posts, in the form that `grammar.read` reads."""

WORDS = """
[domain]
healthcare: für Patienten | in Kliniken | am Krankenbett | unter Pflegekräften | im Operationssaal |
  für Chirurginnen | in Arztpraxen | für Menschen mit chronischen Schmerzen | in Apotheken | auf der Station |
  unter Hebammen | in der Notaufnahme
energy: für Stromnetze | in Windparks | unter Solarteuren | in Heizungskellern | für Stromkunden |
  an Wasserkraftwerken | für Batteriehersteller | bei Erdwärmebohrungen | unter Netzingenieuren | in Turbinenhallen |
  für Wasserstoffpioniere | in Umspannwerken
finance: für Sparer | am Bankschalter | unter Maklern | für Versicherer | in der Buchhaltung | an der Börse |
  für Hausbesitzer mit Hypothek | in der Vermögensverwaltung | unter Wirtschaftsprüfern | in der Rentenplanung |
  an der Kasse | für Kreditgeber
education: für Schüler | in Klassenzimmern | unter Lehrkräften | in Kindergärten | für Lehrlinge | in Hörsälen |
  an der Abendschule | für Eltern im Hausaufgabenstress | unter Nachhilfelehrern | in Schulbibliotheken |
  für Prüflinge | in Lesekreisen
transport: für Pendler | bei der Bahn | in Busdepots | unter Lkw-Fahrern | für Radfahrer | in der Schifffahrt |
  an Straßenbahnhaltestellen | für Fluggäste | auf Autobahnen | unter Spediteuren | für Fährleute | in Parkhäusern
agriculture: für Bauern | in Weinbergen | auf Milchhöfen | unter Imkern | in Gewächshäusern | für Bäcker |
  in Obstgärten | auf Wochenmärkten | für Rinderzüchter | unter Müllern | auf Kartoffeläckern | für Käsereien
[theme]
recruiting: Neue Kolleginnen sind willkommen | Drei Stellen sind frei | Bitte schickt euren Lebenslauf |
  Das Team wächst weiter | Talente sind gefragt | Bewerbungen sind ab sofort möglich |
  Bald beginnen die Vorstellungsgespräche | Quereinsteiger haben gute Karten | Azubis melden sich jetzt |
  Weitere Hände werden gebraucht | Ein Arbeitsvertrag liegt bereit | Personal wird dringend gesucht
funding: Frisches Kapital fließt | Investoren sind an Bord | Die Runde bringt Millionen |
  Ein Zuschuss deckt die Kosten | Das Budget ist verdoppelt | Geldgeber glauben daran | Das Geld ist da |
  Aktionäre zahlen ein | Ein Darlehen macht es möglich | Sponsoren legen zusammen | Wagniskapital steigt ein |
  Die Fördermittel sind bewilligt
research: Die Studie ist begutachtet | Frische Daten stützen die Hypothese | Eine Dissertation geht der Sache nach |
  Das Experiment ist gelungen | Noch messen die Wissenschaftler | Die Befunde überraschen |
  Ein Prototyp steht im Labor | Zwei Kontrollgruppen wurden verglichen | Die Belege mehren sich |
  Ein Fachaufsatz beschreibt die Methode | Die Statistik spricht eine klare Sprache | Feldversuche laufen an
regulation: Ein neues Gesetz gilt | Die Richtlinie tritt in Kraft | Das Parlament debattiert darüber |
  Die Vorschriften sind bindend | Die Behörde prüft alles | Eine Genehmigung ist nötig | Das Gericht hat geurteilt |
  Es drohen Bußgelder | Der Entwurf geht in die zweite Lesung | Die Normen werden strenger |
  Kontrolleure sind unterwegs | Anwälte lesen das Kleingedruckte
[actor]
startup: ein junges Start-up | eine frisch gegründete Firma | ein Gründerduo | ein kleines Wagnis mit fünf Leuten |
  ein Neuling am Markt | eine Garagenfirma
university: eine Universität | eine alte Fakultät | das Rektorat | eine Graduiertenschule | ein Lehrstuhl |
  ein akademisches Institut
ministry: das Ministerium | eine Regierungsstelle | das Kabinett | eine Staatssekretärin | die Bundesverwaltung |
  ein Minister
city: der Stadtrat | die Bürgermeisterin | ein Rathaus | die Gemeinde | ein Bezirksamt | die Ortsversammlung
corporation: ein börsennotierter Konzern | ein Weltunternehmen | der Marktführer | ein Industrieriese | ein Multi |
  ein Mischkonzern
union: eine Gewerkschaft | der Betriebsrat | ein Arbeitnehmerverband | die Belegschaft | ein Vertrauensmann |
  die Personalvertretung
charity: ein Hilfswerk | eine Stiftung | ein gemeinnütziger Verein | eine Wohltätigkeitsorganisation |
  ein Spendenfonds | eine Ehrenamtsgruppe
family: ein Familienbetrieb | eine Werkstatt in dritter Generation | ein Vater-Tochter-Unternehmen |
  ein Traditionshaus | eine inhabergeführte Firma | ein Handwerksbetrieb
consultants: eine Beratung | eine Beratungsgesellschaft | ein Stratege | ein Management-Coach | eine Denkfabrik |
  ein Expertengremium
press: eine Zeitung | ein Lokalsender | eine Redaktion | eine Podcasterin | ein Reporter | ein Magazin
retailer: eine Supermarktkette | ein Onlineshop | ein Kaufhaus | ein Discounter | ein Versandhaus | ein Einzelhändler
athletes: ein Fußballverein | eine Olympiasiegerin | ein Lauftreff | ein Nationaltrainer | eine Rudermannschaft |
  ein Handballteam
[event]
opening: öffnet die Türen | weiht eine Filiale ein | durchschneidet das Band | startet einen Standort |
  nimmt den Betrieb auf | enthüllt einen Ausstellungsraum
closing: macht dicht | gibt endgültig auf | sperrt für immer zu | lässt die Rollläden herunter | sagt Lebewohl |
  meldet Insolvenz an
award: gewinnt einen Preis | erhält eine Medaille | wird zur Nummer eins gekürt | verdient eine Ehrung |
  holt einen Pokal | bekommt Bestnoten der Jury
merger: fusioniert mit einem Rivalen | übernimmt die Konkurrenz | kauft den Nachbarn | schluckt einen Kleineren |
  erwirbt die Mehrheit | verschmilzt zwei Marken
contract: unterschreibt einen Vertrag | besiegelt ein Geschäft per Handschlag | geht eine Partnerschaft ein |
  beschließt eine Kooperation | bekommt einen Großauftrag | vereinbart gemeinsame Arbeit
layoffs: entlässt Leute | streicht die Nachtschicht | schnallt den Gürtel enger | drückt die Kosten |
  spart an Mitarbeitern | verschickt Kündigungen
expansion: wächst kräftig | expandiert ins Ausland | verdoppelt den Ausstoß | erschließt neue Märkte |
  baut eine zweite Halle | bricht den Umsatzrekord
delay: verschiebt alles | verpasst die Frist | bittet um mehr Zeit | hinkt hinterher | verlegt den Start nach hinten |
  wartet auf Bauteile
protest: streikt | geht auf die Straße | protestiert laut | erhebt Einspruch | ruft zum Boykott auf |
  überreicht eine Petition
mistake: bittet um Entschuldigung | räumt eine Panne ein | ruft eine Charge zurück | berichtigt eine Aussage |
  nimmt die Schuld auf die eigene Kappe | meldet einen Defekt
anniversary: feiert ein Jubiläum | wird fünfzig | blickt auf Jahrzehnte zurück | gibt ein Geburtstagsfest |
  begeht einen Jahrestag | bläst die Kerzen aus
move: zieht um | verlagert den Sitz | packt die Kisten | wechselt die Adresse | bricht zu einem anderen Ort auf |
  schlüpft unter ein neues Dach
[object]
app: eine App | ein mobiles Programm | eine Software | ein digitaler Assistent | eine Webplattform |
  ein Browserwerkzeug
robot: ein Roboter | ein mechanischer Arm | ein Automat | eine menschenähnliche Maschine |
  ein selbstfahrender Helfer | ein Kollege aus Stahl
handbook: ein Handbuch | ein Leitfaden | eine Anleitung | ein Taschenbuch | ein Lehrbuch | ein Nachschlagewerk
film: ein Film | eine Dokumentation | ein Videoclip | ein Kurzfilm | ein Porträt auf der Leinwand | ein Trailer
drone: eine Drohne | ein Quadrocopter | ein unbemanntes Fluggerät | eine fliegende Kamera | ein summender Flieger |
  ein Späher aus der Luft
sensor: ein Sensor | ein Messgerät | ein feiner Fühler | eine Sonde | ein Detektor | ein intelligenter Zähler
game: ein Spiel | ein Puzzle | ein Brett mit Würfeln | ein Quiz | ein spielerischer Wettstreit | ein Konsolenabenteuer
map: eine Landkarte | ein Atlas | ein Stadtplan | ein Blatt mit Routen | ein Satellitenbild |
  eine geografische Übersicht
garden: ein Garten | ein begrüntes Dach | ein Blumenbeet | ein kleiner Park | ein bepflanzter Innenhof | ein Rasen
hotline: eine Hotline | ein Sorgentelefon | eine Nummer für Fragen | ein Callcenter | eine Beratung am Hörer |
  ein Telefondienst
survey: eine Umfrage | ein Fragebogen | eine Meinungserhebung | ein Feedbackformular | eine Abstimmung |
  eine Liste zum Ankreuzen
printer: ein 3D-Drucker | ein Kopierer | eine Laserpresse | ein Plotter | eine Setzmaschine | ein Tintenstrahler
[place]
capital: in der Hauptstadt | am Regierungssitz | in der Metropole | beim Präsidentenpalast | im Zentrum der Macht |
  in der größten Stadt
coast: an der Küste | am Meer | im Hafen | am Strand | beim Leuchtturm | in den Dünen
mountains: in den Bergen | am Fuß des Gletschers | im Alpental | oben am Pass | nahe dem Gipfel | auf der Hochebene
village: im Dorf | auf dem Land | in einem Weiler | zwischen Wiesen | in der Landgemeinde | fern jeder Stadt
island: auf der Insel | auf einem Atoll | im Archipel | vor dem Festland | rings von Wasser umgeben | in der Lagune
border: an der Grenze | in der Grenzregion | am Zollposten | zwischen zwei Ländern | beim Schlagbaum |
  nahe dem Nachbarstaat
oldtown: in der Altstadt | im historischen Viertel | zwischen Fachwerkhäusern | neben dem Dom |
  innerhalb der Stadtmauern | auf Kopfsteinpflaster
river: am Fluss | am Kanal | an der Schleuse | entlang der Uferpromenade | nahe der Brücke | am Fähranleger
industrial: im Industriepark | am früheren Stahlwerk | in einer Fabrikhalle | zwischen Schornsteinen |
  auf dem Werksgelände | im Gewerbegebiet
forest: im Wald | unter Buchen | auf einer Lichtung | nahe dem Sägewerk | zwischen Tannen | im Naturschutzgebiet
north: im Norden | nahe dem Polarkreis | in Lappland | unter Polarlichtern | in der Tundra | im langen Winter
online: online | in einer Videokonferenz | im Internet | per Livestream | aus dem Homeoffice | im virtuellen Raum
[someone]
actor: eine Bekannte von uns | ein Name in aller Munde | ein vertrautes Gesicht | ein alter Bekannter
event: macht Schlagzeilen | sorgt für Gesprächsstoff | überrascht uns alle | hat eine volle Woche
[news]
formal: {actor} {verb} {place} {rest}. | Wie bekannt wurde, {verb} {actor} {place} {rest}. |
  Berichten zufolge {verb} {actor} {place} {rest}.
announcement: Eilmeldung: {Actor} {verb} {place} {rest}. | Nun ist es offiziell: {Actor} {verb} {place} {rest}. |
  Diese Woche {verb} {actor} {place} {rest}.
casual: Tja, {actor} {verb} {place} {rest}! | Schau an, {actor} {verb} {place} {rest}. |
  Und dann {verb} {actor} {place} {rest} :)
question: Schon gehört? {Actor} {verb} {place} {rest}. | Stimmt es: {Actor} {verb} {place} {rest}? |
  Wer hätte das gedacht: {Actor} {verb} {place} {rest}?
[fact]
any: {theme}.
[impact]
any: Vieles ändert sich {domain}. | Das zählt {domain}. | Das ist schon ein Thema {domain}. |
  Es gibt gemischte Reaktionen {domain}. | Das weckt Hoffnung {domain}. | Das bedeutet mehr Arbeit {domain}.
[thing]
any: {object} steht im Mittelpunkt. | Der Schlüssel dazu: {object}. | {object} macht den Unterschied. |
  {object} spielt eine Rolle. | {object} gehört dazu. | Was hilft? {object}.
[open]
formal: Guten Morgen, liebes Netzwerk. | Zur Information: | Eine kurze Notiz zur Sache. | In Kürze:
announcement: Große Neuigkeiten! | Stolz teile ich das. | Termin vormerken. | Endlich!
casual: Mal ehrlich? | Leute! | Beim Kaffee gelesen. | Wow.
question: Eine Frage an die Runde. | Ich grüble. | Helft mir mal. | Kurz gefragt.
[close]
formal: Einzelheiten folgen. | Wir danken allen Beteiligten. | Weiteres auf Anfrage.
announcement: Bleibt dran! | Bald mehr. | Bitte teilen.
casual: Einfach schön. | Ich grinse immer noch. | Was für eine Woche.
question: Was meint ihr? | Weiß jemand mehr? | Würdet ihr das auch tun?
[query]
question: wer {verb} {place} {rest}{more}?
prefix: Neues: | Beiträge: | gesucht: | Thema:
"""
