"""The Spanish words and frames of the built-in posts, in the form that `grammar.read` reads."""

WORDS = """
[domain]
healthcare: para los pacientes | en los hospitales | junto a la cama del enfermo | entre enfermeras |
  en los quirófanos | para los cirujanos | en los consultorios | para quienes sufren dolor crónico |
  en las farmacias | en planta | entre matronas | en urgencias
energy: para las redes eléctricas | en los parques eólicos | entre instaladores solares | en las salas de calderas |
  para los clientes de la luz | en las presas | para los fabricantes de baterías | en los pozos geotérmicos |
  entre ingenieros de red | en las salas de turbinas | para los pioneros del hidrógeno | en las subestaciones
finance: para los ahorradores | en la ventanilla del banco | entre corredores | para las aseguradoras |
  en contabilidad | en la bolsa | para familias con hipoteca | en gestión de patrimonios | entre auditores |
  para las pensiones | en caja | para los prestamistas
education: para los alumnos | en las aulas | entre docentes | en los jardines de infancia | para los aprendices |
  en los salones de actos universitarios | en la escuela nocturna | para padres agobiados por los deberes |
  entre tutores | en las bibliotecas escolares | para quienes se examinan | en los clubes de lectura
transport: para quienes viajan a diario | en los ferrocarriles | en las cocheras de autobuses | entre camioneros |
  para los ciclistas | en la navegación | en las paradas del tranvía | para los pasajeros aéreos | en las autopistas |
  entre transitarios | para las tripulaciones de ferris | en los aparcamientos
agriculture: para los campesinos | en los viñedos | en las granjas lecheras | entre apicultores |
  en los invernaderos | para los panaderos | en los huertos frutales | en los mercados semanales |
  para los ganaderos | entre molineros | en los campos de patatas | para los queseros
[theme]
recruiting: Se da la bienvenida a nuevos compañeros | Hay tres puestos vacantes | Envíen su currículum |
  El equipo sigue creciendo | Se busca talento | Ya se admiten candidaturas |
  Pronto empiezan las entrevistas de trabajo | Quien cambia de carrera tiene su oportunidad |
  Los becarios pueden apuntarse | Hacen falta más manos | Te espera un contrato laboral |
  Se necesita personal con urgencia
funding: Llega capital fresco | Los inversores están a bordo | La ronda aporta millones | Una beca cubre los gastos |
  El presupuesto se ha duplicado | Los patrocinadores creen en ello | El dinero está |
  Los accionistas ponen su parte | Un préstamo lo hace posible | Los mecenas colaboran | Entra capital riesgo |
  Las subvenciones están aprobadas
research: El estudio ha sido revisado por pares | Datos recientes confirman la hipótesis | Una tesis lo analiza |
  El experimento salió bien | Los científicos siguen midiendo | Los hallazgos sorprenden |
  Un prototipo espera en el laboratorio | Se compararon dos grupos de control | Las pruebas se acumulan |
  Un artículo describe el método | La estadística habla claro | Arrancan los ensayos de campo
regulation: Rige una nueva ley | La directiva entra en vigor | El parlamento lo debate |
  El cumplimiento es obligatorio | La autoridad lo revisa todo | Hace falta un permiso | El tribunal ha fallado |
  Amenazan las multas | El proyecto pasa a segunda lectura | Las normas se endurecen |
  Los inspectores están en camino | Los abogados leen la letra pequeña
[actor]
startup: una empresa emergente | una firma recién fundada | un dúo de fundadores |
  una pequeña aventura de cinco personas | un recién llegado al mercado | una compañía nacida en un garaje
university: una universidad | una vieja facultad | el rectorado | una escuela de posgrado | una cátedra |
  un instituto académico
ministry: el ministerio | un departamento del Estado | el gabinete | una secretaria de Estado |
  la administración federal | un ministro
city: el ayuntamiento | la alcaldesa | una casa consistorial | el municipio | una junta de distrito |
  la asamblea local
corporation: un grupo cotizado | una corporación mundial | el líder del mercado | un gigante industrial |
  una multinacional | un conglomerado
union: un sindicato | el comité de empresa | una asociación de empleados | la plantilla | un delegado sindical |
  la representación del personal
charity: una obra benéfica | una fundación | una organización de socorro | una entidad sin ánimo de lucro |
  una colecta solidaria | un grupo de voluntarios
family: un negocio familiar | un taller de tercera generación | una empresa de padre e hija | una casa con tradición |
  una firma dirigida por su dueña | un artesano
consultants: una consultora | una firma de asesoría | un estratega | un coach de gestión | un laboratorio de ideas |
  un panel de expertos
press: un periódico | una emisora local | una redacción | una presentadora de pódcast | un reportero | una revista
retailer: una cadena de supermercados | una tienda en línea | un gran almacén | un súper de descuento |
  una casa de venta por catálogo | un minorista
athletes: un club de fútbol | una campeona olímpica | un grupo de corredores | un seleccionador nacional |
  una tripulación de remo | un equipo de balonmano
[event]
opening: abre sus puertas | inaugura una sucursal | corta la cinta | estrena una sede | pone en marcha la actividad |
  descubre una sala de exposición
closing: echa el cierre | abandona para siempre | cierra definitivamente | baja la persiana | dice adiós |
  se declara en quiebra
award: gana un premio | recibe una medalla | sube a lo más alto del podio | merece una distinción |
  levanta un trofeo | logra la máxima nota del jurado
merger: se fusiona con un rival | adquiere a la competencia | compra a su vecino | se traga a uno más pequeño |
  toma la mayoría accionarial | une dos marcas
contract: firma un contrato | cierra un trato con un apretón de manos | entabla una asociación |
  sella una cooperación | consigue un gran pedido | acuerda un trabajo conjunto
layoffs: despide gente | recorta la nómina | se aprieta el cinturón | comprime los costes | ahorra en sueldos |
  suprime el turno de noche
expansion: crece con fuerza | se expande al extranjero | duplica su producción | conquista nuevos mercados |
  construye una segunda nave | bate el récord de ventas
delay: aplaza todo | incumple el plazo | pide más tiempo | va con retraso | retrasa el comienzo | espera piezas
protest: hace huelga | sale a la calle | protesta en voz alta | plantea objeciones | llama al boicot |
  entrega una petición
mistake: pide disculpas | admite un percance | retira un lote | corrige una declaración | asume la culpa |
  comunica una avería
anniversary: celebra su aniversario | cumple cincuenta años | mira décadas atrás | da una fiesta con tarta |
  festeja un jubileo | sopla las velas
move: se muda | traslada su sede | hace las cajas | cambia de dirección | parte hacia otro lugar | estrena techo
[object]
app: una aplicación | un programa móvil | un software | un asistente digital | una plataforma web |
  una herramienta del navegador
robot: un robot | un brazo mecánico | un autómata | una máquina humanoide | un ayudante que rueda solo |
  un colega de acero
handbook: un manual | una guía | unas instrucciones en papel | un libro de bolsillo | un libro de texto |
  una obra de referencia
film: una película | un documental | un videoclip | un cortometraje | un retrato en pantalla | un tráiler
drone: un dron | un cuadricóptero | una aeronave sin piloto | una cámara voladora | un aparato que zumba |
  un explorador del aire
sensor: un sensor | un aparato de medición | un indicador preciso | una sonda | un detector | un contador inteligente
game: un juego | un rompecabezas | un tablero con dados | un concurso de preguntas | una competición lúdica |
  una aventura de consola
map: un mapa | un atlas | un plano de la ciudad | una hoja con rutas | una vista de satélite | un panorama geográfico
garden: un jardín | un tejado verde | un macizo de flores | un pequeño parque | un patio con plantas | un césped
hotline: una línea directa | un teléfono de ayuda | un número para preguntas | un centro de llamadas |
  un consejo al otro lado del hilo | un servicio telefónico
survey: una encuesta | un cuestionario | un sondeo | un formulario de opinión | una votación | una lista con casillas
printer: una impresora 3D | una fotocopiadora | una prensa láser | un trazador | una linotipia |
  una máquina de chorro de tinta
[place]
capital: en la capital | en la sede del gobierno | en la metrópoli | cerca del palacio presidencial |
  en el centro del poder | en la ciudad más grande
coast: en la costa | junto al mar | en el puerto | en la playa | cerca del faro | entre las dunas
mountains: en la montaña | al pie del glaciar | en un valle alpino | en lo alto del paso | cerca de la cumbre |
  en el altiplano
village: en el pueblo | en el campo | en una aldea | entre prados | en una parroquia rural | lejos de toda ciudad
island: en la isla | en un atolón | en el archipiélago | frente al continente | en medio del agua | en la laguna
border: en la frontera | en la zona fronteriza | en la aduana | entre dos países | cerca del puesto de control |
  junto al Estado vecino
oldtown: en el casco antiguo | en el barrio histórico | entre casas con entramado | al lado de la catedral |
  dentro de las murallas | sobre los adoquines
river: a orillas del río | junto al canal | en la esclusa | por el malecón | cerca del puente | en el embarcadero
industrial: en el polígono industrial | en la antigua acería | en una nave de fábrica | entre chimeneas |
  en los terrenos de la planta | en la zona empresarial
forest: en el bosque | bajo las hayas | en un claro | cerca del aserradero | entre abetos | en la reserva natural
north: en el norte | cerca del círculo polar | en Laponia | bajo la aurora boreal | en la tundra |
  donde el invierno dura
online: en línea | en una videollamada | en internet | por emisión en directo | desde el teletrabajo |
  en el espacio virtual
[someone]
actor: una vieja conocida | un nombre en boca de todos | una cara familiar | alguien que conocemos
event: está en los titulares | da que hablar | nos sorprende | tiene una semana intensa
[news]
formal: {actor} {event} {place}. | Desde hoy, {actor} {event} {place}. | Según se informa, {actor} {event} {place}.
announcement: Última hora: {actor} {event} {place}. | Ya es oficial: {actor} {event} {place}. |
  Esta semana {actor} {event} {place}.
casual: ¡Pues {actor} {event} {place}! | Mira tú, {actor} {event} {place}. | Y entonces {actor} {event} {place} :)
question: ¿Lo sabían? {actor} {event} {place}. | ¿Es cierto que {actor} {event} {place}? |
  ¿Quién diría que {actor} {event} {place}?
[fact]
any: {theme}.
[impact]
any: Mucho va a cambiar {domain}. | Esto cuenta {domain}. | Ya es tema {domain}. | Hay reacciones diversas {domain}. |
  Da esperanzas {domain}. | Significa más trabajo {domain}.
[thing]
any: {object} está en el centro de todo. | La clave: {object}. | {object} marca la diferencia. |
  {object} tiene su papel. | {object} forma parte de ello. | ¿Qué ayuda? {object}.
[open]
formal: Buenos días a toda la red. | Para su información: | Una breve nota sobre el asunto. | En resumen:
announcement: ¡Gran noticia! | Con orgullo lo comparto. | Reserven la fecha. | ¡Por fin!
casual: ¿Sinceramente? | ¡Amigos! | Lo leí con el café. | Vaya.
question: Una pregunta a la comunidad. | Me pregunto algo. | Échenme una mano. | Pregunta rápida.
[close]
formal: Los detalles seguirán. | Gracias a todas las personas implicadas. | Más información a petición.
announcement: ¡Sigan atentos! | Pronto más. | Compartan, por favor.
casual: Me encanta. | Sigo sonriendo. | Qué semana.
question: ¿Qué opinan? | ¿Alguien sabe más? | ¿Harían lo mismo?
[query]
question: ¿quién {event} {place}{more}?
prefix: noticias: | busco: | tema: | publicaciones:
"""
