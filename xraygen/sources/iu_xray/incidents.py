"""What can be wrong in IU X-Ray's raw files, by kind."""

# every kind of incident; ids are study ids, CXR<uid> where no study has the uid, image paths, or
# file:place
KINDS = {
    "encoding": "repaired: bytes that are not UTF-8, read as Windows-1252",
    "text_characters": "repaired: control characters or halves of surrogate pairs in a text, replaced",
    "file_unterminated": "repaired: a CSV file whose last line has no end, so that it may have been cut there; its row is used",
    "row_malformed": "excluded: a CSV row with too many or too few columns, or a uid or file name that is none",
    "uid_decimal": "repaired: uids such as 1000.0, which pandas makes of a column with a gap, one incident a file",
    "report_duplicate": "repaired: a uid twice in the reports with the same findings",
    "report_conflict": "excluded: a study whose uid stands in the reports more than once with different findings",
    "report_missing": "excluded: a study without original_report whose uid is not in the reports (unknown, lost or malformed)",
    "report_empty": "excluded: a study without original_report whose report has no findings, or null or NaN",
    "report_without_annotation": "excluded: a report that no entry annotates (1,191 of 3,851 where half of test is kept apart)",
    "entry_malformed": "excluded: an entry of the annotations that is no object or whose id is none",
    "entry_unknown_key": "repaired: keys that an entry should not have, ignored",
    "split_missing": "repaired: an entry without `split`, which takes the list it stands in",
    "split_mismatch": "excluded: an entry whose `split` is not the list it stands in",
    "original_report_not_text": "repaired: an original_report that is no text or empty; the findings of the uid are used",
    "original_report_differs": "repaired: an original_report other than the findings of its uid; it is used (1 as published)",
    "annotation_missing": "excluded: a train or test entry whose `report` is missing or no object",
    "annotation_incomplete": "excluded: an annotation that lacks a region (which is not the same as nothing said about it)",
    "annotation_null": "repaired: an annotation with null, NaN or a word for it in a region, read as empty",
    "annotation_not_text": "excluded: an annotation with a region that is not text",
    "annotation_unknown_key": "repaired: keys other than the five regions, ignored",
    "annotation_of_val": "repaired: an annotation on a val entry, ignored",
    "study_duplicate": "repaired: the same entry more than once, used once",
    "study_conflict": "excluded: entries with one uid in one split that differ; nothing says which is right",
    "study_not_listed": "repaired: a study of whose series the projections list no image: perhaps its id is damaged; it is used",
    "split_leak": "excluded: an entry whose uid is in a later split too; test comes before val, val before train",
    "projection_duplicate": "repaired: a file name listed more than once with the same projection",
    "projection_conflict": "repaired: a file name listed with different projections; the view is unknown",
    "projection_value": "repaired: a projection other than Frontal and Lateral; the view is unknown",
    "projection_missing": "repaired: an image that the projections do not list; the view is unknown",
    "projection_without_report": "excluded: a uid in the projections that has neither report nor annotation",
    "image_missing": "excluded: listed images that are not there, one incident a study, only where there is a folder of images",
    "image_unreadable": "excluded: an image that is cut, damaged, or cannot be read",
    "image_duplicate": "excluded: an image with the same bytes, or the same view in another layout, as one that the study has",
    "image_shared": "excluded: an image with the same bytes as one of another study; nothing says whose it is",
    "image_unclaimed": "excluded: images of a uid that no study has, one incident a uid",
    "image_name": "excluded: an image whose name or folder tells no uid",
    "image_outside": "excluded: a link, to an image or to a folder, that leads out of the collection's folder and not into DVC's cache",
}


# Expected in every collection of which a part is kept apart.
EXPECTED = frozenset(["report_without_annotation"])
