"""Further diseases by the words that reports have for them, above all the urgent ones.

Most are an observation by their own name. A few are kinds of one that `vocabulary.py` has.
"""

from xraygen.judges.proxy.hardware import named_words
from xraygen.judges.proxy.measures import singular

_DISEASES = named_words("""
airway obstruction: airway obstruction | bronchial obstruction | tracheal obstruction
airway obstruction: tracheal stenosis | obstructed airway | obstruction of the airway
aortic coarctation: coarctation | coarctation of the aorta | aortic coarctation
arteriovenous malformation: arteriovenous malformation | avm | vascular malformation
ascites: ascites
bone infection: osteomyelitis | discitis | spondylodiscitis | septic arthritis | bone infection
cardiomyopathy: cardiomyopathy
epiglottitis: epiglottitis
fistula: fistula | bronchopleural fistula
flail chest: flail chest | flail segment | flail
foreign body aspiration: foreign body aspiration | aspirated foreign body | inhaled foreign body
foreign body aspiration: aspiration of a foreign body | aspiration of foreign body
hematoma: hematoma | haematoma
laceration: laceration | lung laceration
lung torsion: torsion | lung torsion
mediastinal hematoma: mediastinal hematoma | mediastinal haematoma | hemomediastinum
mediastinal hematoma: mediastinal hemorrhage | hematoma of the mediastinum
mediastinitis: mediastinitis
mucus plugging: mucus plug | mucous plug | mucus plugging | mucous plugging | mucoid impaction
mycetoma: mycetoma | aspergilloma | fungus ball | fungal ball
osteonecrosis: osteonecrosis | avascular necrosis
perforation: perforation | perforated | perforated viscus | esophageal rupture
perforation: rupture of the esophagus | ruptured esophagus | ruptured viscus
perforation: tracheal rupture | bronchial rupture
pericarditis: pericarditis
pneumatosis intestinalis: pneumatosis | pneumatosis intestinalis
pulmonary sequestration: sequestration | pulmonary sequestration
sarcoidosis: sarcoidosis | sarcoid
septic emboli: septic embolus | septic emboli | septic embolism
situs inversus: dextrocardia | situs inversus
spondylolisthesis: spondylolisthesis | anterolisthesis | retrolisthesis
thrombosis: thrombosis | thrombus | thrombi
vasculitis: vasculitis
volvulus: volvulus
""")
_EFFUSIONS = named_words("""
empyema: empyema | pyothorax | infected effusion
hemothorax: hemothorax | haemothorax | hemothorace | haemothorace
""")
# `observation: word | phrase`: other words for what `vocabulary.py` names.
_SAME = named_words("""
airwaythickening: bronchitis | bronchiolitis
aneurysm: pseudoaneurysm
aorticinjury: ruptured aneurysm | ruptured aortic aneurysm | aneurysm rupture
elevation: diaphragmatic paralysis | phrenic nerve palsy | diaphragm paralysis
effusion: chylothorax
foreignbody: retained sponge | gossypiboma
hyperinflation: air trapping
malignancy: tumour | tumours | adenocarcinoma | cancerous | lymphoma | sarcoma | mesothelioma
malignancy: leukemia | myeloma | carcinoid | carcinomatosis | neuroblastoma
malignancy: squamous cell carcinoma | small cell carcinoma
mass: teratoma | hamartoma
pneumonia: pneumocystis
pulmonaryembolism: pe
pulmonaryhemorrhage: hemorrhage | haemorrhage
pulmonaryinfarct: hampton hump | hampton s hump
surgical: neck dissection | axillary dissection | lymph node dissection | nodal dissection
""")
# A word for air and fluid in the pleural space -> the word for the fluid.
WITH_FLUID = {
    "hydropneumothorax": "pleuraleffusion",
    "hydropneumothorace": "pleuraleffusion",
    "hemopneumothorax": "hemothorax",
    "hemopneumothorace": "hemothorax",
    "haemopneumothorax": "hemothorax",
    "pyopneumothorax": "empyema",
}


def _token(name: str) -> str:
    """The one word, in the singular, that replaces the words of a name."""
    return singular(name.replace(" ", ""))


def _replaced(named: dict[str, tuple[str, ...]]) -> dict[tuple[str, ...], str]:
    return {
        tuple((words + ending).split()): _token(name)
        for name, several in named.items()
        for words in several
        for ending in ("", "s")
    }


PHRASES = _replaced(_DISEASES) | _replaced(_EFFUSIONS) | _replaced(_SAME)
PHRASES |= {("pe", "protocol"): "protocol"}
OBSERVATION = {_token(name): name for name in _DISEASES}
OBSERVATION |= dict.fromkeys(_EFFUSIONS, "effusion") | dict.fromkeys(WITH_FLUID, "pneumothorax")
KIND = {name: name for name in _EFFUSIONS}
