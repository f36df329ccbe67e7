"""Phantoms under two sets of regions: the same pictures and reports, filed differently."""

from collections import Counter
from random import Random

import pytest
import yaml
from conftest import REGIONS, ROOT

from xraygen.core.errors import UserError
from xraygen.core.regions import Regions
from xraygen.language.text import token_f1
from xraygen.sources.iu_xray.read import IuXray
from xraygen.sources.phantom import Phantoms, PhantomSettings, phantom, redrawn
from xraygen.sources.phantom.curators import curate
from xraygen.sources.phantom.filing import FIVE, SEVEN, Statement
from xraygen.sources.phantom.findings import sample
from xraygen.sources.phantom.wording import statements

STUDIES = range(1500)


def said(k: int) -> list[Statement]:
    rng = Random(f"phantom 0 {k}")
    return statements(sample(rng), rng)


def declared(names) -> Regions:
    return Regions.model_validate({name: {"about": name} for name in names})


def test_both_ways_of_filing_know_every_topic_that_the_generator_speaks_of():
    topics = {topic for k in STUDIES for statement in said(k) for topic in statement.parts}
    assert topics == FIVE.region_of.keys() == SEVEN.region_of.keys()
    for filing in (FIVE, SEVEN):
        assert set(filing.region_of.values()) - {None} == set(filing.names)
        assert filing.elsewhere.keys() <= filing.region_of.keys()
        assert set(filing.elsewhere.values()) <= set(filing.names)
    assert [topic for topic, region in FIVE.region_of.items() if region is None] == []
    assert [topic for topic, region in SEVEN.region_of.items() if region is None] == ["technique"]


def test_findings_and_report_are_the_same_in_every_filing():
    for k in range(200):
        five, seven = phantom(0, k), phantom(0, k, SEVEN)
        assert (five.findings, five.report) == (seven.findings, seven.report)
        assert tuple(five.reference) == FIVE.names and tuple(seven.reference) == SEVEN.names


def test_each_statement_is_filed_whole_or_divided_by_topic_and_none_is_lost():
    kinds = Counter()
    for statement in (statement for k in STUDIES for statement in said(k)):
        for filing in (FIVE, SEVEN):
            divided = filing.divided(statement)
            filed = [topic for topic in statement.parts if filing.region_of[topic] is not None]
            assert divided.keys() == {filing.region_of[topic] for topic in filed}
            if len(divided) == 1:
                assert set(divided.values()) == {statement.text}
            for topic in filed if len(divided) > 1 else ():
                assert statement.parts[topic] in divided[filing.region_of[topic]]
        kinds[len(FIVE.divided(statement)), len(SEVEN.divided(statement))] += 1
    # One region in both, one here and two there, and the other way round; technique is left out.
    assert min(kinds[1, 1], kinds[2, 2], kinds[1, 2], kinds[2, 1], kinds[1, 0]) > 20


def test_sentences_about_lungs_and_pleura_are_divided_where_these_are_two_regions():
    statement = next(
        statement
        for k in STUDIES
        for statement in said(k)
        if statement.parts.keys() == {"consolidation", "effusion", "pneumothorax"}
        and not statement.about
    )
    assert FIVE.divided(statement) == {"lung": statement.text}
    divided = SEVEN.divided(statement)
    assert divided.keys() == {"lungs_airways", "pleura"}
    assert divided["pleura"].count("No ") == 2 and divided["lungs_airways"].count("No ") == 1


def test_a_region_is_silent_exactly_where_no_statement_speaks_of_it():
    moved = 0
    for k in range(400):
        parts = [(statement, SEVEN.divided(statement)) for statement in said(k)]
        reference = curate(said(k), Random(k), SEVEN)
        spoken = {region for _, divided in parts for region in divided}
        movable = {
            topic
            for statement, _ in parts
            if len(statement.about) == 1
            for topic in statement.parts
        } & SEVEN.elsewhere.keys()
        allowed = spoken | {SEVEN.elsewhere[topic] for topic in movable}
        filled = {region for region, text in reference.items() if text}
        assert filled <= allowed
        assert spoken - filled <= {SEVEN.region_of[topic] for topic in movable}
        moved += filled != spoken
    assert 0 < moved < 80  # one in ten of the findings that curators file in two ways


def test_seven_region_curators_mostly_agree_and_can_be_asked_again():
    scores = [
        token_f1(phantom(0, k, SEVEN).reference[region], other[region])
        for k in range(150)
        for other in redrawn(0, k, 2, SEVEN)
        for region in SEVEN.names
    ]
    known = [score for score in scores if score is not None]
    assert 0.9 < sum(known) / len(known) < 0.99


def test_a_source_refuses_regions_that_it_has_no_references_for():
    settings = PhantomSettings()
    for names in (("heart", "lungs"), FIVE.names[:4], (*SEVEN.names, "others")):
        with pytest.raises(UserError) as error:
            Phantoms(settings, declared(names))
        told = str(error.value)
        assert ", ".join(FIVE.names) in told and ", ".join(SEVEN.names) in told
        assert told.startswith(f"params.yaml: regions: {', '.join(names)}: ") and "\n" not in told
    with pytest.raises(UserError, match="declare bone, heart, lung, mediastinal, others "):
        IuXray(IuXray.Settings(), declared(SEVEN.names))
    IuXray(IuXray.Settings(), REGIONS)


def test_references_come_in_the_declared_order(tmp_path):
    regions = declared(SEVEN.names[::-1])
    source = Phantoms(PhantomSettings(train=2, test=1, val=1, size=112), regions)
    studies = source.read(tmp_path, tmp_path / "images", tmp_path).studies
    curated = [study for study in studies if study.reference is not None]
    assert len(curated) == 3
    for study in curated:
        assert tuple(study.reference) == SEVEN.names[::-1]
        made = phantom(0, int(study.uid), SEVEN)
        assert study.reference == made.reference and study.report == made.report
    drawn = source.redraw(curated[0], 2)
    assert [set(one) for one in drawn] == [set(SEVEN.names)] * 2


def test_what_params_yaml_declares_is_what_phantoms_are_filed_under():
    content = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    assert tuple(content["regions"]) == FIVE.names
