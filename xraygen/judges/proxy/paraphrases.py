"""Other words for the same finding: the phrases, and words of OBSERVATION, that reports use for a
disease beside its name.
"""

# `word of the vocabulary: phrase | phrase`, replaced before anything is read.
_PHRASES = """
edema: fluid overload | fluid overloaded | volume overloaded
airspaceopacity: airspace opacity | airspace opacities | air space opacity | air space opacities
airspaceopacity: alveolar opacity | alveolar opacities | airspace density | airspace densities
pneumothorax: air in the right pleural space | air in the left pleural space
pneumothorax: air in both pleural spaces
edema: excess fluid in the lungs | fluid accumulation in the lungs | fluid in both lungs
edema: fluid buildup in the lungs | lung fluid | wet lungs | pulmonary fluid
pneumothorax: air in the pleural space | air in the pleural cavity | pleural space air
pneumothorax: collapsed lung with pleural air
pleuraleffusion: fluid in the pleural cavity | fluid around the lung | fluid around the lungs
pleuraleffusion: fluid in the pleural spaces | fluid in both pleural spaces
pleuraleffusion: fluid in the pleural cavities | fluid in both pleural cavities
pleuraleffusion: fluid in the left pleural space | fluid in the right pleural space
consolidation: airspace filling | alveolar filling | air space filling
atelectasis: incomplete expansion | lung base collapse | collapsed lung bases
pneumoperitoneum: air under the diaphragm | air beneath the diaphragm | air below the diaphragm
pneumoperitoneum: air under the right hemidiaphragm | air beneath the right hemidiaphragm
pneumoperitoneum: gas under the diaphragm
fracture: broken rib | broken ribs | broken clavicle | bony break
osteopenia: reduced bone density | decreased bone mass | low bone mass | reduced bone mineralization
scoliosis: lateral curvature of the spine | curved spine | abnormal spinal curvature
cavity: hollow lesion
edema: volume overload | pulmonary fluid overload | kerley lines | kerley b lines | kerley a lines
edema: septal lines | cardiogenic edema | alveolar edema | pulmonary interstitial edema
edema: fluid in the lungs | fluid in lungs | hydrostatic edema | alveolar pulmonary edema
edema: septal thickening
heartfailure: congestive failure | cardiac failure | cardiac decompensation | chf
heartfailure: decompensated chf | cardiac insufficiency | ventricular failure
heartfailure: decompensated heart failure
congestion: pulmonary venous hypertension | venous congestion | pulmonary venous congestion
congestion: vascular redistribution | vascular prominence | vascular plethora
congestion: vascular cephalization | venous hypertension | pulmonary congestion
congestion: congestive changes | congestive change | vascular crowding | engorged vessels
congestion: engorged vasculature | increased vascularity | vascular indistinctness
congestion: prominent pulmonary vasculature | prominent vasculature
congestion: increased pulmonary vascularity
consolidation: alveolar disease | airspace process | airspace opacification | alveolar process
consolidation: air bronchograms | air bronchogram | air space process
pneumonia: lung infection | aspiration pneumonia | aspiration pneumonitis | aspiration
pneumonia: lower respiratory infection
opacity: ground glass opacity | ground glass opacities | groundglass opacity | ground glass
opacity: increased density | increased densities | white out | whiteout | increased attenuation
interstitial: increased lung markings | reticulonodular pattern | reticulonodular opacity
interstitial: reticulonodular opacities | reticular pattern | micronodular pattern
interstitial: bronchial wall thickening | bronchial thickening
interstitial: airway thickening | small airways disease | bronchial cuffing
interstitial: airway wall thickening | reactive airways disease | reactive airway disease
interstitial: bronchitic changes | airways disease | diffuse parenchymal lung disease
interstitial: coarsened markings | coarse lung markings | airway disease | bronchitic change
volumeloss: volume loss | loss of volume
atelectasis: lung collapse | collapsed lung | lung base collapse
atelectasis: partially collapsed | aeration disturbance | partial collapse | decreased aeration
atelectasis: poor aeration
pleuraleffusion: fluid collection | fluid collections | fluid in the pleural space
pleuraleffusion: pleural collection | pleural collections | fluid in the fissure | fissural fluid
pleuraleffusion: layering fluid | fluid in the fissures | parapneumonic effusion | meniscus sign
pleuralthickening: apical cap | pleural capping | apical capping | pleural scar | pleural plaque
pleuralthickening: pleural plaques | biapical capping | pleuroparenchymal scarring
pleuralthickening: pleural calcification
blunting: obscured costophrenic angle | loss of the costophrenic angle
cardiomegaly: cardiac prominence | increased cardiothoracic ratio
malignancy: lung cancer | bronchogenic carcinoma | lymphangitic carcinomatosis
malignancy: neoplastic process | neoplastic disease | progressive disease | malignant process
adenopathy: enlarged lymph nodes | enlarged nodes | nodal enlargement
vasculature: pulmonary arteries | pulmonary artery | pulmonary arterial
pneumothorax: hydro pneumothorax | collapsed lung from pneumothorax
emphysemasubcutaneous: subcutaneous gas | soft tissue air | soft tissue gas | chest wall emphysema
copd: chronic airways disease | obstructive disease | obstructive airways disease
hyperinflation: increased lung volumes | large lung volumes | increased ap diameter
hyperinflation: increased retrosternal space | increased retrosternal airspace
hypoinflation: poor inspiratory effort | low inspiratory effort | hypoventilatory
hypoinflation: hypoventilatory changes | reduced inspiratory effort | low inspiratory volumes
hypoinflation: shallow inspiratory effort | suboptimal inspiration | incomplete inspiration
hypoinflation: poor inspiratory result | limited inspiration | limited inspiratory effort
hypoinflation: decreased inspiratory effort | expiratory film | hypoventilated lungs
hypoinflation: poorly inflated | low in volume | small lungs | underinflation
osteopenia: decreased bone mineralization | bone mineralization is decreased
osteopenia: decreased bone density | diminished bone density | decreased mineralization
osteopenia: low bone density | decreased osseous mineralization | diminished mineralization
fracture: cortical offset | rib defect | rib defects
compression: vertebral height loss | loss of vertebral height | vertebral body height loss
compression: loss of height | height loss | loss of vertebral body height | anterior wedging
compression: vertebral wedging
kyphosis: accentuated kyphosis
degenerative: hypertrophic changes | hypertrophic change | osteoarthrosis | hypertrophic spurring
degenerative: endplate spurring | endplate spur | bridging osteophytes | djd | ddd | disk disease
degenerative: spondylitic changes | flowing osteophytes | ac joint arthrosis | arthritic changes
degenerative: endplate osteophytes | rotator cuff disease | joint space narrowing | schmorl nodes
degenerative: arthrosis
atherosclerosis: atheromatous disease | arteriosclerosis | atheroma
tortuous: uncoiled aorta
pneumoperitoneum: free intraperitoneal gas | free peritoneal air | free gas
pneumoperitoneum: free subdiaphragmatic air
hernia: intrathoracic stomach | diaphragmatic hernia
elevation: raised hemidiaphragm | high hemidiaphragm
deviation: shift of the mediastinum
goiter: thyroid enlargement | enlarged thyroid | thyroid mass
unchanged: not changed | not significantly changed | not appreciably changed | no new change
unchanged: not substantially changed | no appreciable change | no substantial change
unchanged: without interval change | without appreciable change | not changed significantly
improved: near complete resolution of | near resolution of | incomplete resolution of
improved: incomplete clearing of | near complete clearing of
heart: cardiothoracic ratio
bilateral: right greater than left | left greater than right | right worse than left
bilateral: left worse than right | right more than left | left more than right
mostly: most prominent | more pronounced | most pronounced | most prominently
positioning: kyphotic positioning | kyphotic posture | lordotic positioning | lordotic position
"""
# `observation: word word`; words in the singular.
OBSERVATION_WORDS = """
opacity: airspaceopacity
elevation: raised
effusion: empyema
consolidation: alveolar
opacity: opacified infiltrative whiteout
interstitial: interstitium reticulonodular micronodular reticulation reticulations honeycombing miliary
nodule: micronodule
mass: neoplasm
atelectasis: collapsed discoid
atherosclerosis: atheromatous arteriosclerotic
degenerative: djd ddd arthrosis osteoarthrosis syndesmophyte
goiter: goiter
volume loss: volumeloss
heart failure: chf
malignancy: metastase
atelectasis: atelectase
pneumonia: bronchopneumonia aspiration covid
low volume: hypoventilated hypoventilatory underinflation
edema: kerley oedema
effusion: haemothorax hydropneumothorace
"""
PHRASES = {
    tuple(phrase.split()): row.partition(":")[0]
    for row in _PHRASES.strip().splitlines()
    for phrase in row.partition(":")[2].split("|")
    if len(phrase.split()) > 1
}
# Word -> a name more precise than that of its observation.
KIND = {"airspaceopacity": "airspace opacity"}
