"""The words that the reader of findings knows, and what each stands for.

Words are in lower case; those of observations, structures and zones are in the singular.
"""

from xraygen.judges.proxy import diseases, hardware, paraphrases


def _table(text: str) -> dict[str, str]:
    """`value: word word` lines -> word to value."""
    rows = (line.split(":") for line in text.strip().splitlines())
    return {word: value.strip() for value, words in rows for word in words.split()}


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _names(text: str) -> frozenset[str]:
    return frozenset(" ".join(name.split()) for name in text.split(","))


def _levels(*rows: str) -> dict[str, int]:
    """Words -> the number of their row, from 1."""
    return {word: level for level, row in enumerate(rows, 1) for word in row.split()}


# Replaced before anything is read, the longest phrase first: `replacement: phrase | phrase`.
PHRASES = {
    tuple(phrase.split()): row.partition(":")[0]
    for row in """
normal: within normal limits | within limits of normal | within the normal limits
normal: within normal limit
normal: within normal range | not increased | not remarkable | not enlarged | not widened
toplimit: limits of normal | upper limits of normal | upper limit of normal | upper normal
toplimit: top normal | top limits of normal | upper limits normal | upper limits of the normal
airspace: air space
consolidation: airspace disease | air space disease
softtissue: soft tissue | soft tissues
adenopathy: lymph node | lymph nodes
no: negative acute
no: free of | negative for | absence of | lack of | free from | devoid of
unlikely: less likely | low suspicion for | low suspicion of | low clinical suspicion for
unlikely: low likelihood of | low likelihood for | low probability of | low probability for
unlikely: doubt | doubtful | doubted | improbable | less probable | not likely | not suspected
unlikely: not favored | not suspicious for | less likely to be | less likely to represent
unlikely: unlikely to be | unlikely to represent | unlikely to reflect | unlikely to indicate
unlikely: unlikely to be present | unlikely due to | unlikely to be due to | unlikely related to
unlikely: considered unlikely | considered very unlikely | considered highly unlikely
unlikely: considered less likely | considered much less likely | considered doubtful
unlikely: but unlikely | but less likely | but doubtful | though unlikely | though less likely
unlikely: although unlikely | although less likely | but considered unlikely
unlikely: but considered less likely | rather than | as opposed to | instead of | favored over
unlikely: more likely than | favoured over
or unlikely: or , less likely , | or less likely , | and less likely ,
likelier: more likely | more probable
questionable: not unlikely
definite: no doubt | without doubt | of doubtful significance | of doubtful clinical significance
clear no: clear of
gone: resolution of | clearing of | removal of | has resolved | have resolved | has cleared
gone: interval resolution of | interval clearing of | interval removal of | been removed
gone: completely resolved | since resolved
improved: partial resolution of | partial clearing of | partially resolved | nearly resolved
improved: not resolved | incompletely resolved | not cleared | partially cleared
unchanged: no change in | no significant change in | no interval change in | no change
unchanged: no significant interval change in | no significant change | no interval change
unchanged: no significant interval change | without change | without significant change
excludable: cannot be ruled out | not be ruled out | not ruled out | difficult to rule out
excludable: cannot be excluded | not be excluded | not excluded | difficult to exclude
excludable: cannot be entirely excluded | not entirely excluded | cannot be completely excluded
cannotexclude: cannot rule out | not rule out | cannot exclude | not exclude | can not exclude
foreignbody: foreign body | foreign bodies | nipple ring | nipple rings
airfluid: air fluid level | air fluid levels
emphysemasubcutaneous: subcutaneous emphysema | subcutaneous air | soft tissue emphysema
retrosternal: retrosternal airspace | retrosternal air space | substernal air space
scapula: scapular tip
discspace: disc space | disc spaces | disk space | disk spaces
degenerative: disc disease | disk disease | disc degeneration | disc space narrowing
degenerative: disc narrowing | disk space narrowing | disc space loss
low volume: lower lung volumes | lower lung volume | small lung volumes | poor inspiration
followup: follow up
not: ruled out | no longer | no longer seen
volume: lung volumes | lung volume | inspiratory volumes
degenerative: degenerative disc disease | degenerative disease | degenerative change
degenerative: degenerative changes
granuloma: granulomatous disease
interstitial: interstitial disease
effusion: pleural fluid
pleuralthickening: pleural thickening | pleural scarring
heartfailure: heart failure | congestive heart failure
copd: chronic obstructive pulmonary disease | obstructive pulmonary disease
copd: chronic obstructive lung disease | obstructive lung disease
pneumoperitoneum: free air | intraperitoneal air | free intraperitoneal air | subdiaphragmatic air
pericardialeffusion: pericardial effusion
aorta: great vessels | thoracic aorta
post: status post
clear: well expanded | well inflated | normally inflated | well aerated | normally expanded
clear: normally aerated
clear: fully expanded
size: in size
shoulder: acromioclavicular joint
neck: surgical neck
compression: compression fracture | compression fractures | compression deformity
compression: compression deformities
vertebral: vertebral body | vertebral bodies
bony: bony thorax | osseous thorax | thoracic cage | rib cage | bony structures
hernia: hiatus hernia
cardiomediastinal: cardio mediastinal
left: left sided
right: right sided
costophrenic: costophrenic angle | costophrenic angles | costophrenic sulcus | costophrenic sulci
midlung lung: mid lung
vasculature: pulmonary vascularity | pulmonary vasculature
vascular: pulmonary vascular
congestion: vascular congestion
pneumothorax: pleural air
midline: not displaced
""".strip().splitlines()
    for phrase in row.partition(":")[2].split("|")
}
PHRASES = hardware.PHRASES | diseases.PHRASES | paraphrases.PHRASES | PHRASES
# Lengths of the phrases that begin with a word, the longest first.
LENGTHS = {
    first: sorted({len(phrase) for phrase in PHRASES if phrase[0] == first}, reverse=True)
    for first, *_ in PHRASES
}

# What can be present or absent.
OBSERVATION = _table("""
effusion: effusion hydrothorax fluid pleuraleffusion
pericardial effusion: pericardialeffusion
pneumothorax: pneumothorax pneumothorace ptx
pleural thickening: pleuralthickening
blunting: blunting blunted
consolidation: consolidation consolidate consolidating consolidative infiltrate infiltration
consolidation: airspace
pneumonia: pneumonia pneumonitis infection
tuberculosis: tuberculosis tuberculous
opacity: opacity streaky streakiness opacification opaque density haziness hazy
nodule: nodule nodular nodularity
nodular opacity: nodularopacity
lesion: lesion
mass: mass masslike
malignancy: malignancy malignant neoplasm cancer carcinoma tumor metastatic metastasis metastases
granuloma: granuloma granulomatous granulomata histoplasmosis
edema: edema overload
congestion: congestion engorgement engorged congested cephalization
heart failure: heartfailure
atelectasis: atelectasis atelectatic atelectases collapse bandlike platelike
scarring: scar scarring
fibrosis: fibrosis fibrotic
emphysema: emphysema emphysematous copd
subcutaneous emphysema: emphysemasubcutaneous
bulla: bulla bullae bullous bleb
hyperinflation: hyperinflation hyperinflated hyperexpansion hyperexpanded hyperlucent hyperlucency
hyperinflation: hyperdistention hyperdistended hyperaerated hyperaeration overinflation
hyperinflation: overinflated
low volume: hypoinflation hypoinflated underinflated hypoventilation hypoaeration hypoventilated
low volume: hypoventilatory hypoaerated hypoexpansion hypoexpanded underexpanded underaerated
interstitial: interstitial reticular peribronchial
thickening: thickening thickened
crowding: crowding crowded
bronchiectasis: bronchiectasis bronchiectatic
cavity: cavity cavitary cavitation
lucency: lucency lucent
enlargement: enlarged enlargement cardiomegaly prominent prominence widening widened dilated
enlargement: dilation distended fullness
tortuous: tortuous tortuosity ectasia ectatic unfolding unfolded
aneurysm: aneurysm aneurysmal
calcification: calcification calcified calcific calcium
atherosclerosis: atherosclerotic atherosclerosis
adenopathy: adenopathy lymphadenopathy
hernia: hernia herniation
foreign body: foreignbody piercing jewelry bullet shrapnel
air-fluid level: airfluid
fracture: fracture fractured callus
compression: compression wedging wedge
degenerative: degenerative degeneration spondylosis osteophyte osteophytosis endplate arthritic
degenerative: arthritis arthropathy
degenerative: osteoarthritis spurring spur spurs spondylotic dish
scoliosis: scoliosis scoliotic dextroscoliosis levoscoliosis curvature dextrocurvature levocurvature
kyphosis: kyphosis kyphotic
osteopenia: osteopenia osteopenic demineralization demineralized osteoporosis
deformity: deformity pectus malalignment irregularity
dislocation: dislocation dislocated subluxation
injury: injury injuries trauma traumatic
destruction: destructive destruction sclerotic lytic sclerosis
free air: pneumoperitoneum
pneumomediastinum: pneumomediastinum
elevation: elevation elevated eventration
flattening: flattening flattened
deviation: deviation deviated displacement shift shifted
abnormality: abnormality abnormal abnormalities disease process finding change anomaly pathology
""")
OBSERVATION |= _table(paraphrases.OBSERVATION_WORDS) | hardware.OBSERVATION | diseases.OBSERVATION
# Word -> a name more precise than that of its observation.
KIND = hardware.KIND | paraphrases.KIND | diseases.KIND
# What can be normal.
STRUCTURE = _table("""
cardiomediastinal: cardiomediastinal cardiomediastinum
heart: heart cardiac cardio ventricle ventricular atrium atrial cardiopericardial
mediastinum: mediastinal mediastinum
lung: lung pulmonary midlung parenchyma parenchymal lobe lobar airway
vasculature: vascularity vasculature vascular vessel perfusion
aorta: aorta aortic
hilum: hilar hilum hila perihilar
trachea: trachea tracheal
diaphragm: diaphragm hemidiaphragm diaphragmatic
costophrenic: costophrenic
pleura: pleural pleura
volume: volume inspiration inspiratory expansion
bone: bone bony osseous osseus skeletal skeleton musculoskeletal thorax
spine: spine spinal vertebral vertebra vertebrae discspace
rib: rib
shoulder: shoulder clavicle humerus humeral acromioclavicular glenohumeral scapula
soft tissue: softtissue
interstitial: marking bronchovascular interstitium
""")
STRUCTURE_NAMES = frozenset(STRUCTURE.values())
NORMAL = _words("""
normal normally unremarkable clear intact midline negative expanded aerated inflated patent
maintained preserved sharp
""")
STABLE = _words("""
stable unchanged persistent chronic again similar redemonstrated redemonstration remains remain
""")
CHANGED = _words("""
new increased increasing worsened worse worsening improved improving decreased decreasing
interval resolution developed developing progressed enlarging
""")
PRIOR = _words("prior previous previously compared comparison earlier interval since")
# A negation reaches from its cue to the end of the clause; some also reach back ("is not seen").
NEGATION = _words(
    "no without not nor neither absent never none denies isn't aren't gone resolved unlikely"
)
NEGATES_BEFORE = _words("not absent none isn't aren't gone resolved")
# A negation of what follows it in its noun phrase, or else of what stands before it.
UNLIKELY = "unlikely"
# One of these and later the other: the first of two is likelier than the second.
PREFERRED = {
    "over": _words("favor favors favored favoring favour favours favoured favouring"),
    "than": _words("likelier"),
}
# After these words, what is said no longer belongs to the observation before.
SEPARATES = _words(", and with")
# Words that begin a clause.
CLAUSE = _words("but however although though except aside apart which despite while")
# 1 left, 2 right, 3 both.
SIDE = _levels("left", "right", "bilateral bilaterally both bibasilar biapical")
ZONE = _table("""
upper: upper apex apical apices biapical superior
middle: mid middle midlung lingula lingular central midthoracic
lower: lower base basilar basal bibasilar inferior retrocardiac
cervical: cervical
thoracic: thoracic
lumbar: lumbar thoracolumbar
lymph node: lymphnode
""")
# 1 mild, 2 moderate, 3 severe.
SEVERITY = _levels(
    "minimal minimally mild mildly small trace slight slightly tiny subtle borderline minor",
    "moderate moderately medium",
    "severe severely large marked markedly massive extensive advanced significant significantly "
    "gross tension",
)
# After these, an observation is only a possibility.
DOUBT = _words("""
cannotexclude may might could possible possibly questionable question questioned differential
alternatively
""")
# What this word follows, too.
DOUBTS_BEFORE = "excludable"
# After these, an observation is what to look for or to do next, not what is there.
ASKED = _words("""
if evaluate evaluation exclude recommend recommended recommendation correlate correlation consider
considered followup
""")
# Said of a structure, these mean that it is abnormal.
DESCRIBED = _words("""
large larger big bulky full obscured obscuration silhouetted displaced retracted retraction narrowed
narrow narrowing wide distorted distortion asymmetric asymmetrical asymmetry coarse coarsened
accentuated loss dense increased decreased enlarging worsened worsening progressed
irregular blurred indistinct
""")
# Words of sentences about the technique, with which nothing is found.
TECHNIQUE = _words("""
chest view image radiograph film lateral pa ap frontal examination exam study obtained submitted
performed portable upright single one two three x patient rotated rotation obese habitus body
limited somewhat secondary due report end consist decubitus oblique supine semi technique cassette
expiratory repeated repeat comparison available dated sternum abdomen
""")
# An adjective that names an observation adds no finding before these: "calcified granuloma".
YIELDS = {
    word: _names(heads)
    for words, heads in (
        ("calcified calcific", "granuloma"),
        ("interstitial reticular", "opacity, edema, consolidation, pneumonia, fibrosis"),
        ("streaky hazy bandlike platelike", "opacity, atelectasis, consolidation, scarring"),
        ("airspace", "opacity"),
        ("bullous", "emphysema"),
    )
    for word in words.split()
}
# Of these it is the adjective that counts: "granulomatous infection".
OVERRIDES = {
    word: _names(heads)
    for words, heads in (
        ("granulomatous histoplasmosis", "pneumonia, calcification"),
        ("tuberculous tuberculosis", "pneumonia"),
        ("atherosclerotic", "calcification"),
        ("sclerotic lytic destructive cavitary mass lucent", "lesion"),
        ("kyphotic", "scoliosis"),
        ("pectus", "deformity"),
        ("calcified calcific", "adenopathy"),
        ("nodular", "opacity"),
    )
    for word in words.split()
}
# Instead of such a pair, where one of the two does not say it all.
JOINED = {
    ("calcified", "adenopathy"): "lymphnode",
    ("calcific", "adenopathy"): "lymphnode",
    ("nodular", "opacity"): "nodularopacity",
}
LOW = _words("low decreased diminished reduced shallow")
# Words without content.
STOP = _words("""
a an the is are was were be been being of in on at to for with and or by as from there this that
these it its has have had no not without nor seen noted identified visualized visualised visible
present evident demonstrated demonstrate demonstrates appear appears appearing appearance
evidence any which also well than may grossly within limits limit definite otherwise xxxx s t
again area areas focal acute typical structure structures both all overall remain remains region
""")

# Observations by the part of the body that they are about.
LUNG = _names("""
effusion, pneumothorax, pleural thickening, blunting, consolidation, pneumonia, tuberculosis,
opacity, nodule, nodular opacity, lesion, mass, granuloma, edema, congestion, atelectasis, scarring,
fibrosis, emphysema, bulla, hyperinflation, interstitial, crowding, bronchiectasis, cavity, lucency,
low volume
""")
BONE = _names("""
fracture, compression, degenerative, scoliosis, kyphosis, osteopenia, deformity, dislocation,
injury, destruction
""")
HEART = _names("pericardial effusion")
WHOLE = "whole"  # what is called normal without being named: "Within normal limits."
UNREAD = "unread"  # a sentence without a word of this vocabulary; its words are in `where`


def vocabulary() -> list[str]:
    """Every word that the reader knows, sorted."""
    kinds = OBSERVATION, STRUCTURE, ZONE, SEVERITY, SIDE
    cues = NORMAL, STABLE, CHANGED, DESCRIBED, PRIOR, NEGATION, DOUBT, ASKED, CLAUSE, TECHNIQUE
    words = set().union(*kinds, *cues, STOP, *PHRASES)
    return sorted(word for word in words if word.isalpha())
