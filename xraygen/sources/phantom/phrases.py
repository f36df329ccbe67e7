"""The phrases of reports, as data for `wording`.

`[a|b]` is a choice, `{name}` a value that `wording` fills in. A phrase about one topic is a string.
A phrase about several is a tuple: the report's words, then the curators' words by topic, for
topics that are filed under different regions (`filing`).
"""

Phrase = str | tuple[str, dict[str, str]]

NORMAL_WORDS = ("normal", "within normal limits", "unremarkable", "normal", "within normal limits")

# --- what is normal

HEART: tuple[Phrase, ...] = (
    "[The heart|Heart|The cardiac silhouette] is {ok}.",
    "[The heart|Heart] is normal in size.",
    "[The heart size|Heart size|Cardiac size] is [normal|within normal limits].",
    "Heart size [normal|within normal limits].",
    "Normal heart size.",
    "[The cardiac|Cardiac] contours are {ok}.",
    "No cardiomegaly.",
    "The heart is not enlarged.",
)
MEDIASTINUM: tuple[Phrase, ...] = (
    "[The mediastinum|Mediastinum] is {ok}.",
    "[The mediastinal contours|Mediastinal contours] are {ok}.",
    "Mediastinal contours {ok}.",
    "The mediastinal and hilar contours are {ok}.",
    "There is no mediastinal widening.",
    "[The aorta and mediastinum|The mediastinum and hila] are {ok}.",
)
TRACHEA: tuple[Phrase, ...] = ("[The trachea|Trachea] is midline.",)
_CONTOURS = {
    "heart": "Cardiac contours are {ok}.",
    "mediastinum": "Mediastinal contours are {ok}.",
}
HEART_AND_MEDIASTINUM: tuple[Phrase, ...] = (
    ("[The cardiomediastinal|Cardiomediastinal] silhouette is {ok}.", _CONTOURS),
    ("[The cardiomediastinal|Cardiomediastinal] contours are {ok}.", _CONTOURS),
    (
        "Normal cardiomediastinal silhouette.",
        {"heart": "Normal cardiac contours.", "mediastinum": "Normal mediastinal contours."},
    ),
    (
        "Heart size and mediastinal contours are {ok}.",
        {"heart": "Heart size is {ok}.", "mediastinum": "Mediastinal contours are {ok}."},
    ),
    (
        "[The heart|Heart] and mediastinum are {ok}.",
        {"heart": "Heart is {ok}.", "mediastinum": "Mediastinum is {ok}."},
    ),
    ("[The cardiac|Cardiac] and mediastinal contours are {ok}.", _CONTOURS),
    (
        "Normal heart size and mediastinal contours.",
        {"heart": "Normal heart size.", "mediastinum": "Normal mediastinal contours."},
    ),
    (
        "Heart and mediastinum [appear|look] normal.",
        {"heart": "Heart appears normal.", "mediastinum": "Mediastinum appears normal."},
    ),
)
HEART_AND_VESSELS: tuple[Phrase, ...] = (
    (
        "Heart size and pulmonary [vascularity|vasculature] are {ok}.",
        {"heart": "Heart size is {ok}.", "vascularity": "Pulmonary vascularity is {ok}."},
    ),
    (
        "Normal heart size and pulmonary vascularity.",
        {"heart": "Normal heart size.", "vascularity": "Normal pulmonary vascularity."},
    ),
)
HEART_MEDIASTINUM_AND_VESSELS: tuple[Phrase, ...] = (
    (
        "The cardiomediastinal silhouette and pulmonary vasculature are {ok}.",
        _CONTOURS | {"vascularity": "Pulmonary vasculature is {ok}."},
    ),
    (
        "Heart size, mediastinal contours and pulmonary vessels are {ok}.",
        {
            "heart": "Heart size is {ok}.",
            "mediastinum": "Mediastinal contours are {ok}.",
            "vascularity": "Pulmonary vessels are {ok}.",
        },
    ),
)
HEART_MEDIASTINUM_AND_LUNGS: tuple[Phrase, ...] = (
    (
        "The heart, mediastinum and lungs are {ok}.",
        {
            "heart": "Heart is {ok}.",
            "mediastinum": "Mediastinum is {ok}.",
            "lungs": "Lungs are {ok}.",
        },
    ),
)
LUNGS: tuple[str, ...] = (
    "[The lungs|Lungs|Both lungs] are clear.",
    "[The lungs|Lungs] are clear bilaterally.",
    "Clear lungs.",
    "[The lungs|Lungs] are well [aerated|expanded] and clear.",
    "[The lungs|Both lungs|Lung fields] appear clear.",
    "[The lungs|Lungs] are clear [without|with no] {absent}.",
)
REST_OF_LUNGS: tuple[Phrase, ...] = (
    "[The lungs|Lungs] are otherwise clear.",
    "The remainder of the lungs is clear.",
)
ABSENT: tuple[str, ...] = (
    "No {absent}.",
    "There is no {absent}.",
    "No [evidence of |visible |definite |]{absent}.",
    "There is no [evidence of |]{absent}.",
    "Negative for {absent}.",
    "No {absent} [is seen|identified|is identified|is present].",
)
ABSENT_WORDS = {
    "consolidation": (
        "focal consolidation",
        "focal airspace disease",
        "infiltrate",
        "airspace opacity",
        "focal opacity",
        "pneumonia",
    ),
    "effusion": (
        "pleural effusion",
        "effusion",
        "pleural effusion",
        "pleural fluid",
        "large pleural effusion",
    ),
    "pneumothorax": ("pneumothorax",),
    "nodule": ("nodule", "mass", "suspicious nodule"),
    "vessels": ("pulmonary edema", "vascular congestion"),
}
# Next to another finding, which may be called an opacity itself.
ABSENT_WORDS_IF_AFFECTED = ABSENT_WORDS | {
    "consolidation": ("focal consolidation", "focal airspace disease", "infiltrate")
}
VESSELS: tuple[Phrase, ...] = (
    "[The pulmonary|Pulmonary] [vascularity|vasculature] is {ok}.",
    "Normal pulmonary vascularity.",
    "Pulmonary vessels are {ok}.",
)
VOLUMES: tuple[Phrase, ...] = (
    "Lung volumes are normal.",
    "[The lungs|Lungs] are normally inflated.",
)
BONES: tuple[Phrase, ...] = (
    "[The bones|Bones|The osseous structures|Osseous structures|Bony structures] are {ok}.",
    "[The bones|Bony structures|Osseous structures|Visualized bones] are intact.",
    "No [acute |]bony abnormality.",
    "No acute [osseous|bone] abnormality[| is seen| identified].",
    "There are no acute [bony|osseous] findings.",
    "The visualized skeletal structures are {ok}.",
    "[The thoracic spine|Thoracic spine] is {ok}.",
    "The bony thorax is [intact|unremarkable].",
)
NO_ACUTE_BONES: tuple[Phrase, ...] = (
    "No acute [bony|osseous] abnormality.",
    "There is no acute [bony|osseous] finding.",
)
BONES_AND_SOFT_TISSUES: tuple[Phrase, ...] = (
    (
        "[The bones|Bones] and soft tissues are {ok}.",
        {"bones": "Bones are {ok}.", "soft_tissues": "Soft tissues are {ok}."},
    ),
    (
        "No acute bony or soft tissue abnormality.",
        {"bones": "No acute bony abnormality.", "soft_tissues": "No soft tissue abnormality."},
    ),
)
BONES_AND_FREE_AIR: tuple[Phrase, ...] = (
    (
        "No acute bony abnormality or free air under the diaphragm.",
        {"bones": "No acute bony abnormality.", "free_air": "No free air under the diaphragm."},
    ),
)
FREE_AIR: tuple[Phrase, ...] = (
    "No [subdiaphragmatic free air|free air under the diaphragm].",
    "There is no free [intraperitoneal |]air below the diaphragm.",
)
SOFT_TISSUES: tuple[Phrase, ...] = (
    "[The soft tissues|Soft tissues] are {ok}.",
    "The [visualized |]upper abdomen is {ok}.",
)
TECHNIQUE: tuple[Phrase, ...] = (
    "[PA|Frontal] and lateral views [of the chest|were obtained|of the chest were obtained].",
    "Two views of the chest.",
    "Comparison is made to the prior study.",
)

# --- what is abnormal: by field of Findings

ABNORMAL: dict[str, tuple[Phrase, ...]] = {
    "heart": (
        "[There is |]{heart} cardiomegaly.",
        "{heart} cardiomegaly.",
        "[The heart|Heart|The cardiac silhouette] is {heart}ly enlarged.",
        "There is {heart} enlargement of the [heart|cardiac silhouette].",
        "Heart size is {heart}ly [enlarged|increased].",
    ),
    "heart borderline": (
        "Heart size is [borderline|at the upper limit of normal].",
        "Borderline heart size.",
        "[The heart|The cardiac silhouette] is borderline enlarged.",
        "[The heart|Heart] is at the upper limits of normal in size.",
    ),
    "mediastinum": (
        "[The mediastinum|Mediastinum] is [widened|wide].",
        "There is widening of the [upper |superior |]mediastinum.",
        "Widened [superior mediastinum|mediastinum|mediastinal contours].",
        "Mediastinal widening[ is noted| is present|].",
    ),
    "aorta": (
        "[The thoracic aorta|The aorta|Aorta] is {aorta}.",
        "{aorta} [thoracic |]aorta.",
        "There is a {aorta} [thoracic |]aorta.",
        "A {aorta} aorta is [noted|seen].",
    ),
    "vessels congested": (
        "[Mild |]pulmonary vascular congestion.",
        "There is [central |pulmonary ]vascular congestion.",
        "Pulmonary vascularity is [increased|engorged|congested].",
        "Central vascular congestion is [noted|present].",
    ),
    "vessels edema": (
        "[Diffuse |]interstitial [pulmonary |]edema.",
        "There is [pulmonary interstitial|interstitial] edema.",
        "Increased interstitial markings, [likely|compatible with] pulmonary edema.",
        "Interstitial opacities in both lungs [suggest|are consistent with] edema.",
    ),
    "volumes low": (
        "Low lung volumes.",
        "[The lung|Lung] volumes are low.",
        "[The lungs|Lungs] are hypoinflated.",
        "There are low lung volumes[ with crowding of the vessels|].",
    ),
    "volumes high": (
        "[The lungs|Lungs|Both lungs] are [hyperinflated|hyperexpanded].",
        "Hyperinflated lungs[ with flattened diaphragms|].",
        "There is hyperinflation[ of both lungs|].",
        "Hyperexpanded lungs with flattening of the diaphragm.",
    ),
    "effusion": (
        "{amount} {side} pleural effusion.",
        "There is a {amount} {side}[-sided|] pleural effusion.",
        "A {amount} {side} pleural effusion is [seen|present|noted].",
        "{side} pleural effusion, {amount} in size.",
    ),
    "effusion both": (
        "{amount} bilateral pleural effusions.",
        "There are {amount} bilateral pleural effusions.",
        "{amount} pleural effusions are [seen|present|noted] on both sides.",
        "Bilateral pleural effusions, {amount} in size.",
    ),
    "pneumothorax": (
        "{amount} {side} [apical |]pneumothorax.",
        "There is a {amount} {side}[-sided|] pneumothorax.",
        "A {amount} {side} pneumothorax is [seen|present|noted].",
        "{side} pneumothorax, {amount} in size.",
    ),
    "consolidation": (
        "[Dense |Patchy |]{place} [consolidation|airspace disease].",
        "There is [focal |dense |]consolidation in the {place}.",
        "Airspace [opacity|disease] in the {place}[, suspicious for pneumonia|].",
        "{place} infiltrate[, likely pneumonia|].",
        "There is a {place} opacity [concerning for|compatible with] pneumonia.",
    ),
    "nodule": (
        "{cm} cm nodule in the {place}.",
        "There is a {cm} cm [nodule|nodular opacity|rounded nodule] in the {place}.",
        "{place} nodule measuring [about |]{cm} cm.",
        "A [pulmonary |solitary |]nodule of {cm} cm is [seen|noted] in the {place}.",
    ),
    "granuloma": (
        "[Small |]calcified granuloma in the {place}.",
        "There is a [small |]calcified granuloma in the {place}.",
        "{place} calcified granuloma[ is noted|].",
    ),
    "atelectasis": (
        "[Minimal |Mild |]{bases} [subsegmental |linear |]atelectasis.",
        "There is {bases} [subsegmental |]atelectasis.",
        "Streaky {bases} opacities, [likely|compatible with] atelectasis.",
    ),
    "rib_fracture": (
        "Acute fracture of the {side} {rib} rib.",
        "There is an acute [displaced |]{side} {rib} rib fracture.",
        "Acute {side} {rib} rib fracture[ is noted|].",
    ),
    "rib_fracture healed": (
        "[Old|Healed] {side} {rib} rib fracture.",
        "There is an old fracture of the {side} {rib} rib.",
        "Deformity of the {side} {rib} rib from an old fracture.",
        "Healed fracture of the {side} {rib} rib[ is noted|].",
    ),
    "spine": (
        "{spine} degenerative changes of the [thoracic |]spine.",
        "There are {spine} degenerative changes [in|of] the thoracic spine.",
        "{spine} thoracic spondylosis[ with osteophytes|].",
        "{spine} [spondylosis|degenerative change] of the thoracic spine is [noted|present].",
    ),
    "scoliosis": (
        "Thoracic scoliosis convex to the {side}.",
        "There is [mild |]scoliosis of the thoracic spine, convex to the {side}.",
        "Scoliosis with [convexity to the {side}|{side} convexity].",
    ),
    "pacemaker": (
        "[Left-sided |Left chest |]pacemaker[ with leads in place| is noted|].",
        "A [dual-lead |]pacemaker is [seen|present|noted] [over the left chest|on the left].",
        "Left chest wall pacemaker with [two leads|leads in the right heart].",
    ),
    "sternotomy": (
        "Median sternotomy wires[ are intact| are noted|].",
        "Sternotomy wires are [present|seen|in place].",
        "Postsurgical changes of median sternotomy.",
        "The patient is status post median sternotomy.",
    ),
    "central_line": (
        "{side}[-sided|] central venous catheter with tip in the [SVC|superior vena cava].",
        "There is a {side} central [venous |]line ending in the SVC.",
        "{side} [PICC|port catheter|jugular catheter] tip overlies the [SVC|cavoatrial junction].",
    ),
    "clips": (
        "Surgical clips in the right upper [quadrant|abdomen].",
        "There are [surgical|cholecystectomy] clips in the right upper quadrant.",
        "Cholecystectomy clips[ are present| are noted|].",
    ),
    "hernia": (
        "{amount} hiatal hernia.",
        "There is a {amount} hiatal hernia.",
        "A {amount} hiatal hernia is [noted|seen|present].",
    ),
    "free_air": (
        "Free air under the [right |]diaphragm.",
        "There is free [intraperitoneal |]air below the diaphragm.",
        "Pneumoperitoneum[ is present| is noted|].",
    ),
}
# Two findings in one sentence; `{heart}` and its like are the first one's, `{with_side}` and its
# like the second one's.
PAIRS: dict[tuple[str, str], tuple[Phrase, ...]] = {
    ("heart", "mediastinum"): (
        (
            "The cardiomediastinal silhouette is enlarged with {heart} cardiomegaly and a widened"
            " mediastinum.",
            {
                "heart": "[{heart} cardiomegaly.|Heart is {heart}ly enlarged.]",
                "mediastinum": "Widened mediastinum.",
            },
        ),
        (
            "{heart} cardiomegaly and mediastinal widening.",
            {"heart": "{heart} cardiomegaly.", "mediastinum": "Mediastinal widening."},
        ),
    ),
    ("heart", "vessels congested"): (
        (
            "{heart} cardiomegaly with [pulmonary |]vascular congestion.",
            {"heart": "{heart} cardiomegaly.", "congestion": "Pulmonary vascular congestion."},
        ),
    ),
    ("heart", "vessels edema"): (
        (
            "{heart} cardiomegaly with interstitial [pulmonary |]edema.",
            {"heart": "{heart} cardiomegaly.", "edema": "Interstitial edema."},
        ),
    ),
    ("consolidation", "effusion"): (
        (
            "{place} consolidation and a {with_amount} {with_side} pleural effusion.",
            {
                "consolidation": "{place} consolidation.",
                "effusion": "{with_amount} {with_side} pleural effusion.",
            },
        ),
    ),
    ("atelectasis", "effusion"): (
        (
            "{bases} atelectasis and a {with_amount} {with_side} pleural effusion.",
            {
                "atelectasis": "{bases} atelectasis.",
                "effusion": "{with_amount} {with_side} pleural effusion.",
            },
        ),
    ),
    ("nodule", "granuloma"): (
        "There is a {cm} cm nodule in the {place} and a calcified granuloma in the {with_place}.",
    ),
    ("spine", "scoliosis"): (
        "{spine} degenerative changes and scoliosis of the spine, convex to the {with_side}.",
    ),
    ("pacemaker", "sternotomy"): (
        (
            "Left chest pacemaker and median sternotomy wires.",
            {"pacemaker": "Left chest pacemaker.", "sternotomy": "Median sternotomy wires."},
        ),
    ),
}
