"""The French words and frames of the built-in posts, in the form that `grammar.read` reads."""

WORDS = """
[domain]
healthcare: pour les patients | dans les hôpitaux | au chevet des malades | chez les infirmières |
  au bloc opératoire | pour les chirurgiens | dans les cabinets médicaux |
  pour ceux qui souffrent de douleurs chroniques | en pharmacie | dans les services de soins | chez les sages-femmes |
  aux urgences
energy: pour les réseaux électriques | dans les parcs éoliens | chez les installateurs de panneaux solaires |
  dans les chaufferies | pour les abonnés à l'électricité | dans les barrages | pour les fabricants de batteries |
  autour des puits géothermiques | chez les ingénieurs réseau | dans les salles des turbines |
  pour les pionniers de l'hydrogène | dans les postes de transformation
finance: pour les épargnants | au guichet de la banque | chez les courtiers | pour les assureurs | en comptabilité |
  à la Bourse | pour les ménages endettés | en gestion de patrimoine | chez les commissaires aux comptes |
  pour les retraites | à la caisse | pour les prêteurs
education: pour les élèves | dans les salles de classe | chez les enseignants | à la maternelle | pour les apprentis |
  dans les amphithéâtres | aux cours du soir | pour les parents débordés par les devoirs | chez les tuteurs |
  dans les bibliothèques scolaires | pour les candidats aux examens | dans les clubs de lecture
transport: pour les navetteurs | sur les rails | dans les dépôts de bus | chez les routiers | pour les cyclistes |
  dans la marine marchande | aux arrêts de tramway | pour les passagers aériens | sur les autoroutes |
  chez les transitaires | pour les équipages de ferries | dans les parkings
agriculture: pour les paysans | dans les vignobles | dans les fermes laitières | chez les apiculteurs |
  sous les serres | pour les boulangers | dans les vergers | sur les marchés hebdomadaires |
  pour les éleveurs de bovins | chez les meuniers | dans les champs de pommes de terre | pour les fromagers
[theme]
recruiting: De nouveaux collègues sont les bienvenus | Trois postes sont vacants | Envoyez votre CV |
  L'équipe s'agrandit | On cherche des talents | Les candidatures sont ouvertes |
  Les entretiens d'embauche commencent bientôt | Les reconversions ont leur chance |
  Les stagiaires peuvent s'inscrire | Il faut plus de bras | Un contrat de travail vous attend |
  Du personnel est demandé d'urgence
funding: Des capitaux frais arrivent | Les investisseurs sont à bord | Le tour de table rapporte des millions |
  Une bourse couvre les frais | Le budget a doublé | Les bailleurs y croient | L'argent est là |
  Les actionnaires versent leur part | Un prêt rend cela possible | Les mécènes participent |
  Le capital-risque entre au capital | Les subventions sont accordées
research: L'étude a été relue par les pairs | Des données fraîches confirment l'hypothèse | Une thèse s'y intéresse |
  L'expérience a réussi | Les scientifiques mesurent encore | Les résultats surprennent |
  Un prototype attend au laboratoire | Deux groupes témoins ont été comparés | Les preuves s'accumulent |
  Un article décrit la méthode | Les statistiques parlent clairement | Les essais de terrain débutent
regulation: Une nouvelle loi s'applique | La directive entre en vigueur | Le parlement en débat |
  La conformité est obligatoire | L'autorité vérifie tout | Un permis est nécessaire | Le tribunal a tranché |
  Des amendes menacent | Le projet passe en deuxième lecture | Les normes se durcissent |
  Les inspecteurs sont en route | Les juristes lisent les petits caractères
[actor]
startup: une jeune pousse | une société tout juste fondée | un duo de fondateurs | une petite aventure à cinq |
  un nouveau venu du marché | une boîte née dans un garage
university: une université | une vieille faculté | le rectorat | une école doctorale | une chaire de professeur |
  un institut académique
ministry: le ministère | un service de l'État | le gouvernement | une secrétaire d'État | l'administration fédérale |
  un ministre
city: le conseil municipal | la maire | un hôtel de ville | la commune | une mairie d'arrondissement |
  l'assemblée locale
corporation: un groupe coté | une société mondiale | le leader du marché | un géant industriel | une multinationale |
  un conglomérat
union: un syndicat | le comité d'entreprise | une association de salariés | la main-d'œuvre |
  un délégué du personnel | la représentation des employés
charity: une œuvre caritative | une fondation | une organisation de secours | une association sans but lucratif |
  une collecte solidaire | un groupe de bénévoles
family: une entreprise familiale | un atelier de troisième génération | une affaire de père en fille |
  une maison de tradition | une firme tenue par sa propriétaire | un artisan
consultants: un cabinet de conseil | une société de conseil | un stratège | un coach en management |
  un laboratoire d'idées | un collège d'experts
press: un journal | une radio locale | une rédaction | une animatrice de podcast | un reporter | un magazine
retailer: une chaîne de supermarchés | une boutique en ligne | un grand magasin | un discounter |
  une maison de vente par correspondance | un détaillant
athletes: un club de football | une championne olympique | un groupe de coureurs | un sélectionneur national |
  un équipage d'aviron | une équipe de handball
[event]
opening: ouvre ses portes | inaugure une succursale | coupe le ruban | lance un site | démarre son activité |
  dévoile une salle d'exposition
closing: met la clé sous la porte | abandonne pour de bon | ferme définitivement | baisse le rideau |
  fait ses adieux | dépose le bilan
award: gagne un prix | reçoit une médaille | monte sur la plus haute marche | mérite une distinction |
  remporte un trophée | obtient les félicitations du jury
merger: fusionne avec un rival | rachète la concurrence | achète son voisin | avale un plus petit |
  acquiert la majorité | marie deux marques
contract: signe un contrat | conclut une affaire d'une poignée de main | noue un partenariat |
  scelle une coopération | obtient une grosse commande | convient d'un travail commun
layoffs: licencie | réduit ses effectifs | se serre la ceinture | comprime les coûts | économise sur les salaires |
  supprime l'équipe de nuit
expansion: croît fortement | s'étend à l'étranger | double sa production | conquiert de nouveaux marchés |
  construit une deuxième halle | bat le record des ventes
delay: reporte tout | rate l'échéance | demande plus de temps | prend du retard | repousse le départ |
  attend des pièces
protest: fait grève | descend dans la rue | proteste bruyamment | soulève des objections | appelle au boycott |
  remet une pétition
mistake: présente ses excuses | admet un incident | rappelle un lot | corrige une déclaration | assume la faute |
  signale une panne
anniversary: fête son anniversaire | a cinquante ans | regarde des décennies en arrière | donne une fête avec gâteau |
  célèbre un jubilé | souffle les bougies
move: déménage | change de siège | fait ses cartons | change d'adresse | part vers un autre lieu |
  s'installe sous un nouveau toit
[object]
app: une appli | un programme mobile | un logiciel | un assistant numérique | une plateforme web |
  un outil de navigateur
robot: un robot | un bras mécanique | un automate | une machine humanoïde | un aide qui roule tout seul |
  un collègue d'acier
handbook: un manuel | un guide | un mode d'emploi | un livre de poche | un ouvrage scolaire | un ouvrage de référence
film: un film | un documentaire | un clip vidéo | un court métrage | un portrait à l'écran | une bande-annonce
drone: un drone | un quadricoptère | un aéronef sans pilote | une caméra volante | un engin bourdonnant |
  un éclaireur du ciel
sensor: un capteur | un appareil de mesure | une jauge précise | une sonde | un détecteur | un compteur intelligent
game: un jeu | un puzzle | un plateau avec des dés | un quiz | un concours ludique | une aventure sur console
map: une carte géographique | un atlas | un plan de ville | une feuille avec des itinéraires | une vue satellite |
  un aperçu géographique
garden: un jardin | un toit végétal | un parterre de fleurs | un petit parc | une cour plantée | une pelouse
hotline: une ligne d'appel | un numéro vert | un numéro pour les questions | un centre d'appels |
  un conseil au bout du fil | une permanence téléphonique
survey: une enquête | un questionnaire | un sondage | un formulaire d'avis | un vote | une liste à cocher
printer: une imprimante 3D | une photocopieuse | une presse laser | un traceur | une machine à composer |
  une jet d'encre
[place]
capital: dans la capitale | au siège du gouvernement | dans la grande métropole | près du palais présidentiel |
  au centre du pouvoir | dans la plus grande ville
coast: sur la côte | au bord de la mer | dans le port | à la plage | près du phare | dans les dunes
mountains: à la montagne | au pied du glacier | dans une vallée alpine | en haut du col | près du sommet |
  sur le haut plateau
village: au village | à la campagne | dans un hameau | entre les prés | dans une paroisse rurale | loin de toute ville
island: sur l'île | sur un atoll | dans l'archipel | au large du continent | au milieu des flots | dans la lagune
border: à la frontière | dans la zone frontalière | au poste de douane | entre deux pays | près du point de contrôle |
  à côté de l'État voisin
oldtown: dans la vieille ville | dans le quartier historique | entre les maisons à colombages |
  à côté de la cathédrale | dans les remparts | sur les pavés
river: au bord du fleuve | le long du canal | à l'écluse | sur les quais | près du pont | à l'embarcadère du bac
industrial: dans le parc industriel | à l'ancienne aciérie | dans une halle d'usine | entre les cheminées |
  sur le terrain de l'usine | dans la zone d'activité
forest: dans la forêt | sous les hêtres | dans une clairière | près de la scierie | parmi les sapins |
  dans la réserve naturelle
north: dans le nord | près du cercle polaire | en Laponie | sous les aurores boréales | dans la toundra |
  là où l'hiver dure
online: en ligne | en visioconférence | sur internet | en direct vidéo | depuis le télétravail | dans l'espace virtuel
[someone]
actor: une vieille connaissance | un nom sur toutes les lèvres | un visage familier | quelqu'un que nous connaissons
event: fait la une | fait parler | nous surprend tous | vit une semaine chargée
[news]
formal: {actor} {event} {place}. | À ce jour, {actor} {event} {place}. |
  Selon nos informations, {actor} {event} {place}.
announcement: Dernière minute : {actor} {event} {place}. | C'est officiel : {actor} {event} {place}. |
  Cette semaine, {actor} {event} {place}.
casual: Eh bien, {actor} {event} {place} ! | Tiens, {actor} {event} {place}. | Et là, {actor} {event} {place} :)
question: Vous avez entendu ? {actor} {event} {place}. | Est-ce vrai, {actor} {event} {place} ? |
  Qui l'eût cru, {actor} {event} {place} ?
[fact]
any: {theme}.
[impact]
any: Beaucoup va changer {domain}. | Cela compte {domain}. | C'est déjà un sujet {domain}. |
  Les réactions {domain} sont partagées. | Cela donne de l'espoir {domain}. | Cela veut dire plus de travail {domain}.
[thing]
any: {object} est au cœur de tout. | La clé : {object}. | {object} fait la différence. | {object} joue un rôle. |
  {object} est de la partie. | Ce qui aide ? {object}.
[open]
formal: Bonjour à tout le réseau. | Pour information : | Une brève note à ce sujet. | En bref :
announcement: Grande nouvelle ! | Fier de partager ceci. | À vos agendas. | Enfin !
casual: Franchement ? | Les amis ! | Lu avec mon café. | Waouh.
question: Une question à la communauté. | Je m'interroge. | Aidez-moi. | Petite question.
[close]
formal: Les détails suivront. | Merci à toutes les personnes impliquées. | Plus de précisions sur demande.
announcement: Restez à l'écoute ! | La suite bientôt. | Merci de partager.
casual: J'adore. | Je souris encore. | Quelle semaine.
question: Qu'en pensez-vous ? | Quelqu'un en sait plus ? | Feriez-vous pareil ?
[query]
question: qui {event} {place}{more} ?
prefix: nouvelles : | infos : | je cherche : | sujet :
"""
