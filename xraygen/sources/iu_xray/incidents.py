"""What can be wrong in IU X-Ray's raw files, by kind."""

# {kind: "action: what"}. The id of an incident is a study id, CXR<uid> where no study has the uid,
# the path of an image, or file:line.
KINDS = {
    "encoding": "repaired: bytes that are not UTF-8, read as Windows-1252",
    "text_characters": "repaired: control characters or lone surrogates in a text, replaced",
    "file_unterminated": "repaired: a CSV file without a line end after its last row, so that it"
    " may be truncated there; the row is used",
    "row_malformed": "excluded: a CSV row with too many or too few columns, or with an invalid uid"
    " or file name",
    "uid_decimal": "repaired: uids such as 1000.0, which pandas makes of a column with gaps; one"
    " incident a file",
    "report_duplicate": "repaired: a uid twice in the reports with the same findings",
    "report_conflict": "excluded: a study whose uid is in the reports more than once with different"
    " findings",
    "report_missing": "excluded: a study without original_report whose uid is not in the reports"
    " (unknown, lost or malformed)",
    "report_empty": "excluded: a study without original_report whose report has no findings, null"
    " or NaN",
    "report_without_annotation": "excluded: a report without an entry in the annotations (1,191 of"
    " 3,851 where half of test is withheld)",
    "entry_malformed": "excluded: an entry of the annotations that is not an object or has no valid"
    " id",
    "entry_unknown_key": "repaired: keys that an entry should not have, ignored",
    "split_missing": "repaired: an entry without `split`, which is taken from the list it is in",
    "split_mismatch": "excluded: an entry whose `split` is not the list it is in",
    "original_report_not_text": "repaired: an original_report that is not text or is empty; the"
    " findings of the uid are used",
    "original_report_differs": "repaired: an original_report that differs from the findings of its"
    " uid; it is used (1 as published)",
    "annotation_missing": "excluded: a train or test entry whose `report` is missing or not an"
    " object",
    "annotation_incomplete": "excluded: an annotation without one of the regions (an empty text"
    " would mean that nothing was said about it)",
    "annotation_null": "repaired: an annotation with null, NaN or a word for it in a region, read"
    " as empty",
    "annotation_not_text": "excluded: an annotation with a region that is not text",
    "annotation_unknown_key": "repaired: keys other than the five regions, ignored",
    "annotation_of_val": "repaired: an annotation on a val entry, ignored",
    "study_duplicate": "repaired: the same entry more than once, used once",
    "study_conflict": "excluded: entries with one uid in one split that differ; nothing says which"
    " is right",
    "study_not_listed": "repaired: a study of whose series the projections list no image, perhaps"
    " because its id is damaged; it is used",
    "split_leak": "excluded: an entry whose uid is also in a split that takes precedence: test over"
    " val, val over train",
    "projection_duplicate": "repaired: a file name listed more than once with the same projection",
    "projection_conflict": "repaired: a file name listed with different projections; the view is"
    " unknown",
    "projection_value": "repaired: a projection other than Frontal and Lateral; the view is"
    " unknown",
    "projection_missing": "repaired: an image that the projections do not list; the view is"
    " unknown",
    "projection_without_report": "excluded: a uid in the projections that has neither report nor"
    " annotation",
    "image_missing": "excluded: listed images that are not there, one incident a study, only where"
    " there is a folder of images",
    "image_unreadable": "excluded: an image that is truncated, damaged or cannot be read",
    "image_duplicate": "excluded: an image with the same bytes, or the same view in another layout,"
    " as one that the study has",
    "image_shared": "excluded: an image with the same bytes as one of another study; nothing says"
    " whose it is",
    "image_unclaimed": "excluded: images of a uid that no study has, one incident a uid",
    "image_name": "excluded: an image whose name or folder has no uid",
    "image_outside": "excluded: a link, to an image or to a folder, that leads out of the"
    " collection's folder and not into DVC's cache",
}


# Expected in every collection of which a part is withheld.
EXPECTED = frozenset(["report_without_annotation"])
