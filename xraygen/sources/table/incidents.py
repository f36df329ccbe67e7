"""What can be wrong in a table of the user's, by kind."""

# Ids of incidents are study ids, or file:line where a row has none.
KINDS = {
    "encoding": "repaired: a file that is not UTF-8, read as UTF-16 or Windows-1252",
    "file_unterminated": "repaired: a file whose last line has no end; it may have been cut there",
    "text_characters": "repaired: control characters or halves of surrogate pairs, replaced",
    "row_duplicate": "repaired: a row that repeats another one of its study, used once",
    "reference_missing": "repaired: a train, dev or test study without a reference, moved to val",
    "reference_unknown_key": "repaired: a key of a JSON reference that names no region, ignored",
    "projection_value": "repaired: a projection that is not understood; the view is unknown",
    "row_malformed": "excluded: a row with too many or too few fields, or a line that is not JSON",
    "id_missing": "excluded: a row without an id",
    "id_conflict": "excluded: a study whose rows differ in more than their images",
    "report_missing": "excluded: a row whose report is empty, null or not text",
    "reference_malformed": "excluded: a row whose reference cannot be read",
    "split_unknown": "excluded: a row with a reference whose split is not understood",
    "patient_missing": "excluded: a study with a reference and without a patient",
    "image_missing": "excluded: an image that is not there; the study is used without it",
    "image_outside": "excluded: an image whose path or link leads out of the file's folder",
    "image_unreadable": "excluded: an image that is cut, damaged, or cannot be read",
    "image_shared": "excluded: an image with the same bytes as one of another patient",
}
