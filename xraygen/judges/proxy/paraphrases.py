"""Other words for the same finding: the phrases, and words of OBSERVATION, that reports use for a
disease as well as its name.
"""

# `word of the vocabulary: phrase | phrase`, replaced before anything is read.
_PHRASES = """
adenopathy: enlarged lymph nodes | enlarged nodes | nodal enlargement
airspaceopacity: airspace opacity | airspace opacities | air space opacity | air space opacities
airspaceopacity: alveolar opacity | alveolar opacities | airspace density | airspace densities
airwaythickening: bronchial wall thickening | bronchial thickening | airway thickening
airwaythickening: small airways disease | bronchial cuffing | airway wall thickening
airwaythickening: reactive airways disease | reactive airway disease | bronchitic changes
airwaythickening: airways disease | airway disease | bronchitic change
atelectasis: incomplete expansion | lung base collapse | collapsed lung bases | lung collapse
atelectasis: collapsed lung | partially collapsed | aeration disturbance | partial collapse
atelectasis: decreased aeration | poor aeration
atherosclerosis: atheromatous disease
bilateral: right greater than left | left greater than right | right worse than left
bilateral: left worse than right | right more than left | left more than right
bilateral pleuraleffusion: fluid in both pleural spaces | fluid in both pleural cavities
bilateral pneumothorax: air in both pleural spaces
blunting: obscured costophrenic angle | loss of the costophrenic angle
cardiomegaly: cardiac prominence | increased cardiothoracic ratio
cavity: hollow lesion
compression: vertebral height loss | loss of vertebral height | vertebral body height loss
compression: loss of height | height loss | loss of vertebral body height | anterior wedging
compression: vertebral wedging
congestion: pulmonary venous hypertension | venous congestion | pulmonary venous congestion
congestion: vascular redistribution | vascular prominence | vascular plethora
congestion: vascular cephalization | venous hypertension | pulmonary congestion
congestion: congestive changes | congestive change | vascular crowding | engorged vessels
congestion: engorged vasculature | increased vascularity | vascular indistinctness
congestion: prominent pulmonary vasculature | prominent vasculature
congestion: increased pulmonary vascularity
consolidation: airspace filling | alveolar filling | air space filling | alveolar disease
consolidation: airspace process | airspace opacification | alveolar process | air bronchograms
consolidation: air bronchogram | air space process
copd: chronic airways disease | obstructive disease | obstructive airways disease
degenerative: hypertrophic changes | hypertrophic change | hypertrophic spurring
degenerative: endplate spurring | endplate spur | bridging osteophytes | disk disease
degenerative: spondylitic changes | flowing osteophytes | ac joint arthrosis | arthritic changes
degenerative: endplate osteophytes | rotator cuff disease | joint space narrowing | schmorl nodes
degenerative: skeletal hyperostosis
deviation: shift of the mediastinum
edema: interstitial and alveolar edema | fluid overload | fluid overloaded | volume overloaded
edema: excess fluid in the lungs | fluid accumulation in the lungs | fluid in both lungs
edema: fluid buildup in the lungs | lung fluid | wet lungs | pulmonary fluid | volume overload
edema: pulmonary fluid overload | kerley lines | kerley b lines | kerley a lines | septal lines
edema: cardiogenic edema | alveolar edema | pulmonary interstitial edema | fluid in the lungs
edema: fluid in lungs | hydrostatic edema | alveolar pulmonary edema | septal thickening
elevation: raised hemidiaphragm | high hemidiaphragm
emphysemasubcutaneous: subcutaneous gas | soft tissue air | soft tissue gas | chest wall emphysema
fracture: broken rib | broken ribs | broken clavicle | bony break | cortical offset | rib defect
fracture: rib defects
goiter: thyroid enlargement | enlarged thyroid | thyroid mass
groundglassopacity: ground glass opacity | ground glass opacities | groundglass opacity
groundglassopacity: ground glass | groundglass opacities | ground glass density
groundglassopacity: ground glass densities | hazy opacity | hazy opacities
groundglassopacity: ground glass attenuation | ground glass opacification
heart: cardiothoracic ratio
heartfailure: congestive failure | cardiac failure | cardiac decompensation | decompensated chf
heartfailure: cardiac insufficiency | ventricular failure | decompensated heart failure
hernia: intrathoracic stomach | diaphragmatic hernia
hyperinflation: increased lung volumes | large lung volumes | increased ap diameter
hyperinflation: increased retrosternal space | increased retrosternal airspace
hypoinflation: poor inspiratory effort | low inspiratory effort | hypoventilatory changes
hypoinflation: reduced inspiratory effort | low inspiratory volumes | shallow inspiratory effort
hypoinflation: suboptimal inspiration | incomplete inspiration | poor inspiratory result
hypoinflation: limited inspiration | limited inspiratory effort | decreased inspiratory effort
hypoinflation: expiratory film | hypoventilated lungs | poorly inflated | low in volume
hypoinflation: small lungs
improved: near complete resolution of | near resolution of | incomplete resolution of
improved: incomplete clearing of | near complete clearing of
interstitial: increased lung markings | reticulonodular pattern | reticulonodular opacity
interstitial: reticulonodular opacities | reticular pattern | micronodular pattern
interstitial: diffuse parenchymal lung disease | coarsened markings | coarse lung markings
interstitialopacity: interstitial opacity | interstitial opacities | reticular opacity
interstitialopacity: reticular opacities | reticulonodular opacity | reticulonodular opacities
interstitialopacity: interstitial opacification | interstitial density | interstitial densities
interstitialopacity: reticular densities | linear interstitial opacities | fine reticular opacities
interstitialopacity: reticular infiltrates
kyphosis: accentuated kyphosis
left pleuraleffusion: fluid in the left pleural space
left pneumothorax: air in the left pleural space
malignancy: lung cancer | bronchogenic carcinoma | lymphangitic carcinomatosis | neoplastic process
malignancy: neoplastic disease | progressive disease | malignant process
mostly: most prominent | more pronounced | most pronounced | most prominently
opacity: increased density | increased densities | white out | increased attenuation
osteopenia: reduced bone density | decreased bone mass | low bone mass
osteopenia: reduced bone mineralization | decreased bone mineralization
osteopenia: bone mineralization is decreased | decreased bone density | diminished bone density
osteopenia: decreased mineralization | low bone density | decreased osseous mineralization
osteopenia: diminished mineralization
pleuraleffusion: fluid in the pleural cavity | fluid around the lung | fluid around the lungs
pleuraleffusion: fluid in the pleural spaces | fluid in the pleural cavities | fluid collection
pleuraleffusion: fluid collections | fluid in the pleural space | pleural collection
pleuraleffusion: pleural collections | fluid in the fissure | fissural fluid | layering fluid
pleuraleffusion: fluid in the fissures | parapneumonic effusion | meniscus sign
pleuralthickening: apical cap | pleural capping | apical capping | pleural scar | pleural plaque
pleuralthickening: pleural plaques | biapical capping | pleuroparenchymal scarring
pleuralthickening: pleural calcification
pneumonia: lung infection | aspiration pneumonia | aspiration pneumonitis
pneumonia: lower respiratory infection
pneumoperitoneum: air under the diaphragm | air beneath the diaphragm | air below the diaphragm
pneumoperitoneum: air under the right hemidiaphragm | air beneath the right hemidiaphragm
pneumoperitoneum: gas under the diaphragm | free intraperitoneal gas | free peritoneal air
pneumoperitoneum: free gas | free subdiaphragmatic air
pneumothorax: air in the pleural space | air in the pleural cavity | pleural space air
pneumothorax: collapsed lung with pleural air | hydro pneumothorax
pneumothorax: collapsed lung from pneumothorax
positioning: kyphotic positioning | kyphotic posture | lordotic positioning | lordotic position
right pleuraleffusion: fluid in the right pleural space
right pneumothorax: air in the right pleural space
scoliosis: lateral curvature of the spine | curved spine | abnormal spinal curvature
tortuous: uncoiled aorta
unchanged: not changed | not significantly changed | not appreciably changed | no new change
unchanged: not substantially changed | no appreciable change | no substantial change
unchanged: without interval change | without appreciable change | not changed significantly
vasculature: pulmonary arteries | pulmonary artery | pulmonary arterial
volumeloss: volume loss | loss of volume | hilar retraction | retraction of the hilum
left volumeloss: retraction of the left hilum | left hilar retraction
right volumeloss: retraction of the right hilum | right hilar retraction
"""
# `observation: word word`; words in the singular.
OBSERVATION_WORDS = """
abnormality: abnormalchest boweldistension
aneurysm: aorticdissection aorticinjury
cavity: lungabscess
lesion: lungcyst
pulmonary embolism: pulmonaryembolism
pulmonary hemorrhage: pulmonaryhemorrhage
pulmonary infarct: pulmonaryinfarct
airway thickening: airwaythickening
atelectasis: collapsed discoid atelectase
atherosclerosis: atheromatous arteriosclerotic
consolidation: alveolar
degenerative: djd ddd arthrosis osteoarthrosis syndesmophyte
edema: kerley oedema
hernia: diaphragmaticinjury
elevation: raised
goiter: goiter
heart failure: chf
interstitial: reticulonodular micronodular reticulation reticulations honeycombing miliary
low volume: hypoventilated hypoventilatory underinflation
malignancy: metastase
mass: neoplasm
nodule: micronodule
opacity: airspaceopacity groundglassopacity interstitialopacity opacified infiltrative whiteout
pneumonia: bronchopneumonia aspiration covid
tortuous: uncoiled
volume loss: volumeloss
"""
PHRASES = {
    tuple(phrase.split()): row.partition(":")[0]
    for row in _PHRASES.strip().splitlines()
    for phrase in row.partition(":")[2].split("|")
    if len(phrase.split()) > 1
}
# Word -> a name more precise than that of its observation.
KIND = {
    "abnormalchest": "abnormal chest",
    "aorticdissection": "aortic dissection",
    "aorticinjury": "aortic injury",
    "boweldistension": "bowel distension",
    "diaphragmaticinjury": "diaphragmatic injury",
    "lungabscess": "abscess",
    "lungcyst": "cyst",
    "airspaceopacity": "airspace opacity",
    "groundglassopacity": "ground-glass opacity",
    "interstitialopacity": "interstitial markings",
}
