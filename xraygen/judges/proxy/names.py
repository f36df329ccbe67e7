"""Clinical names of findings that are present, as a radiologist lists them."""

from xraygen.judges.proxy.vocabulary import KIND, OBSERVATION, STRUCTURE, UNREAD, WHOLE

# Keys that are not a name already. A structure as a key means that it is abnormal as a whole.
_NAMES = {
    "heart": "cardiomegaly",
    "cardiomediastinal": "enlarged cardiomediastinal silhouette",
    "mediastinum": "abnormal mediastinum",
    "lung": "abnormal lung",
    "vasculature": "abnormal pulmonary vessels",
    "aorta": "abnormal aorta",
    "hilum": "enlarged hilum",
    "trachea": "abnormal trachea",
    "diaphragm": "abnormal diaphragm",
    "costophrenic": "abnormal costophrenic angle",
    "pleura": "abnormal pleura",
    "volume": "abnormal lung volume",
    "bone": "abnormal bone",
    "spine": "abnormal spine",
    "rib": "abnormal rib",
    "shoulder": "abnormal shoulder",
    "soft tissue": "abnormal soft tissue",
    "effusion": "pleural effusion",
    "blunting": "blunted costophrenic angle",
    "edema": "pulmonary edema",
    "congestion": "vascular congestion",
    "interstitial": "interstitial markings",
    "low volume": "low lung volume",
    "crowding": "bronchovascular crowding",
    "tortuous": "tortuous aorta",
    "surgery": "surgical change",
    "compression": "vertebral compression fracture",
    "degenerative": "degenerative change",
    "destruction": "bone lesion",
    "elevation": "elevated diaphragm",
    "flattening": "flattened diaphragm",
    "deviation": "mediastinal shift",
    "abnormality": "unspecified abnormality",
    WHOLE: "unspecified abnormality",
    UNREAD: "unrecognized statement",
}
# (key, structure) -> the name of the finding where it is named with the structure.
_PLACED = {
    ("calcification", "aorta"): "aortic atherosclerosis",
    ("atherosclerosis", "aorta"): "aortic atherosclerosis",
    ("calcification", "hilum"): "calcified lymph node",
    ("calcification", "lymph node"): "calcified lymph node",
    ("calcification", "mediastinum"): "calcified lymph node",
    ("lesion", "bone"): "bone lesion",
    ("lesion", "rib"): "bone lesion",
    ("lesion", "shoulder"): "bone lesion",
    ("lesion", "spine"): "bone lesion",
    ("aneurysm", "aorta"): "aortic aneurysm",
    ("hematoma", "mediastinum"): "mediastinal hematoma",
    ("deviation", "trachea"): "tracheal deviation",
}


def name_of(key: str, where: frozenset[str]) -> str:
    """The name of a finding with this key that is present; `where`: structures named with it."""
    for structure in sorted(where):
        if (key, structure) in _PLACED:
            return _PLACED[key, structure]
    return _NAMES.get(key, key)


def names() -> list[str]:
    """Every name that `name_of` can give, sorted."""
    keys = {*OBSERVATION.values(), *STRUCTURE.values(), "low volume", WHOLE, UNREAD}
    named = {_NAMES.get(key, key) for key in keys}
    return sorted(named.union(_PLACED.values(), KIND.values()))
