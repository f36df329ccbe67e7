"""Other words for the same finding: the phrases, and words of OBSERVATION, that reports use for a
disease beside its name.
"""

# `word of the vocabulary: phrase | phrase`, replaced before anything is read.
_PHRASES = """
edema: fluid overload | volume overload | pulmonary fluid overload | kerley lines | kerley b lines
edema: kerley a lines | septal lines | cardiogenic edema | alveolar edema
edema: pulmonary interstitial edema | fluid in the lungs | fluid in lungs | hydrostatic edema
edema: alveolar pulmonary edema | interstitial pulmonary edema | septal thickening
heartfailure: congestive failure | cardiac failure | cardiac decompensation | chf | decompensated chf
heartfailure: cardiac insufficiency | ventricular failure | decompensated heart failure
congestion: pulmonary venous hypertension | venous congestion | pulmonary venous congestion
congestion: vascular engorgement | vascular redistribution | vascular prominence | vascular plethora
congestion: pulmonary vascular congestion | pulmonary vascular prominence | vascular cephalization
congestion: pulmonary vascular redistribution | pulmonary vascular engorgement | venous hypertension
congestion: pulmonary congestion | congestive changes | congestive change | vascular crowding
congestion: engorged vessels | engorged vasculature | increased vascularity | vascular indistinctness
congestion: prominent pulmonary vasculature | prominent vasculature | increased pulmonary vascularity
consolidation: alveolar disease | alveolar opacity | alveolar opacities | alveolar infiltrates
consolidation: airspace process | airspace opacification | alveolar process | alveolar infiltrate
consolidation: air bronchograms | air bronchogram | airspace infiltrate | airspace infiltrates
consolidation: air space process | airspace consolidation | air space consolidation
consolidation: consolidative opacity | consolidative opacities | consolidative process
pneumonia: infectious process | infectious etiology | infectious infiltrate | infectious infiltrates
pneumonia: pneumonic infiltrate | pneumonic consolidation | inflammatory process | lung infection
pneumonia: aspiration pneumonia | aspiration pneumonitis | infectious consolidation | aspiration
pneumonia: inflammatory infiltrate | infectious or inflammatory process | lower respiratory infection
opacity: ground glass opacity | ground glass opacities | groundglass opacity | ground glass
opacity: increased density | increased densities | white out | whiteout | increased attenuation
interstitial: increased lung markings | reticulonodular pattern | interstitial lung disease
interstitial: reticulonodular opacity | reticulonodular opacities
interstitial: interstitial prominence | interstitial thickening
interstitial: interstitial pattern | interstitial infiltrate
interstitial: interstitial infiltrates | interstitial changes
interstitial: interstitial change | interstitial abnormality | reticular opacity | reticular opacities
interstitial: reticular pattern | reticular markings | micronodular pattern | coarse markings
interstitial: interstitial process | interstitial pneumonitis
interstitial: bronchial wall thickening | bronchial thickening | airway thickening | small airways disease
interstitial: peribronchial thickening | peribronchial cuffing | bronchial cuffing | airway wall thickening
interstitial: reactive airways disease | reactive airway disease | bronchitic changes | airways disease
interstitial: diffuse parenchymal lung disease | coarsened markings | coarse lung markings
interstitial: airway disease
interstitial: bronchitic change
interstitial: peribronchial opacities | peribronchial opacity | interstitial type opacities
atelectasis: volume loss | loss of volume | linear atelectasis | linear scarring or atelectasis
atelectasis: lung collapse | collapsed lung | lobar collapse | lung base collapse | partially collapsed
atelectasis: aeration disturbance | partial collapse | decreased aeration | poor aeration
pleuraleffusion: fluid collection | fluid collections | fluid in the pleural space | pleural collection
pleuraleffusion: pleural fluid collection | pleural fluid collections | pleural collections
pleuraleffusion: fluid in the fissure | fissural fluid | layering fluid | fluid in the fissures
pleuraleffusion: parapneumonic effusion | meniscus sign
pleuralthickening: apical cap | pleural capping | apical capping | pleural scar | pleural plaque
pleuralthickening: pleural plaques | biapical capping | pleuroparenchymal scarring
pleuralthickening: apical pleural thickening | biapical pleural thickening | pleural calcification
blunting: obscured costophrenic angle | loss of the costophrenic angle
cardiomegaly: heart enlargement | cardiac enlargement | enlarged heart | enlarged cardiac silhouette
cardiomegaly: cardiac silhouette enlargement | large heart | enlargement of the cardiac silhouette
cardiomegaly: enlargement of cardiac silhouette | prominent heart | cardiac prominence
cardiomegaly: enlargement of the heart | enlarged heart size | enlarged cardiac size
cardiomegaly: increased cardiothoracic ratio | prominent cardiac silhouette
mass: mass lesion | cavitary lesion | masslike opacity | masslike consolidation
mass: mass like opacity | rounded opacity | round opacity | masslike density
nodule: nodular density | nodular densities | pulmonary nodule
nodule: nodular lesion | nodular focus | nodular foci | lung nodule | nodular lesions
malignancy: metastatic disease | lung cancer | bronchogenic carcinoma | lymphangitic carcinomatosis
malignancy: neoplastic process | neoplastic disease | progressive disease | malignant process
granuloma: calcified nodule | calcified nodules | granulomatous change | granulomatous changes
granuloma: calcified granuloma | calcified granulomas | prior granulomatous disease
adenopathy: lymph node enlargement | enlarged lymph nodes | enlarged nodes | nodal enlargement
vasculature: pulmonary arteries | pulmonary artery | pulmonary arterial
pneumothorax: hydro pneumothorax | tension pneumothorax | collapsed lung from pneumothorax
emphysemasubcutaneous: subcutaneous emphysema | subcutaneous air | subcutaneous gas
emphysemasubcutaneous: soft tissue emphysema | soft tissue air | soft tissue gas | chest wall emphysema
copd: obstructive lung disease | chronic airways disease | emphysematous change | bullous emphysema
copd: emphysematous changes | obstructive disease | obstructive airways disease | air trapping
hyperinflation: increased lung volumes | large lung volumes | increased ap diameter
hyperinflation: increased retrosternal space | increased retrosternal airspace | hyperinflated lungs
bullous: bullous changes | bullous change | bullous disease
flattening: flattened hemidiaphragms | flattened diaphragms | flattening of the diaphragms
hypoinflation: poor inspiration | poor inspiratory effort | low inspiratory effort | hypoventilatory
hypoinflation: hypoventilatory changes | reduced inspiratory effort | low inspiratory volumes
hypoinflation: shallow inspiratory effort | suboptimal inspiration | incomplete inspiration
hypoinflation: poor inspiratory result | limited inspiration | limited inspiratory effort
hypoinflation: decreased inspiratory effort | expiratory film | hypoventilated lungs | poorly inflated
hypoinflation: low in volume | lower lung volumes | small lung volumes | small lungs | underinflation
osteopenia: decreased bone mineralization | bone mineralization is decreased | bone demineralization
osteopenia: decreased bone density | diminished bone density | decreased mineralization
osteopenia: osseous demineralization | low bone density | decreased osseous mineralization
osteopenia: diminished mineralization | bony demineralization
fracture: rib defect | rib defects | cortical irregularity | cortical offset | cortical disruption
compression: vertebral height loss | loss of vertebral height | vertebral body height loss
compression: loss of height | height loss | loss of vertebral body height | anterior wedging
compression: wedge deformity | wedge deformities | wedge compression | vertebral wedging
kyphosis: kyphotic curvature | kyphotic deformity | kyphotic curve | accentuated kyphosis
scoliosis: scoliotic curvature | scoliotic curve | spinal curvature | scoliotic deformity
degenerative: degenerative joint disease | hypertrophic changes | hypertrophic change | osteoarthrosis
degenerative: hypertrophic spurring | endplate spurring | endplate spur | disc space narrowing
degenerative: bridging osteophytes | disc disease | djd | ddd | disk disease | spondylitic changes
degenerative: disk space narrowing | flowing osteophytes | ac joint arthrosis | arthritic changes
degenerative: endplate osteophytes | rotator cuff disease | joint space narrowing | schmorl nodes
degenerative: degenerative spurring | degenerative disk disease | degenerative endplate changes
degenerative: degenerative disc changes | degenerative spondylosis | degenerative osteophytes
degenerative: degenerative osteophytosis | prominent osteophyte | prominent osteophytes | arthrosis
atherosclerosis: aortic calcification | aortic calcifications | aortic arch calcification
atherosclerosis: calcified aorta | aortic knob calcification | atherosclerotic calcification
atherosclerosis: atherosclerotic calcifications | vascular calcification | vascular calcifications
atherosclerosis: atherosclerotic disease | atheromatous disease | arteriosclerosis | atheroma
atherosclerosis: calcification of the aorta | calcification of the aortic arch | aortic atheroma
atherosclerosis: atherosclerotic change | atherosclerotic changes | aortic atherosclerosis
tortuous: uncoiled aorta | unfolded aorta | tortuous aorta | ectatic aorta | aortic ectasia | aortic tortuosity
pneumoperitoneum: free intraperitoneal gas | free peritoneal air | free gas | free subdiaphragmatic air
hernia: intrathoracic stomach | hiatal hernia | diaphragmatic hernia
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
