"""Study files: what they resolve to, what is refused, and the journal of places."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from hepatojax.io.results import RunFile
from hepatojax.io.scenario import ScenarioError, load_scenario, scenario_to_toml
from hepatojax.io.scenario.document import ScenarioFile
from hepatojax.io.scenario.kind import SCENARIO_KEYS, STUDY_KEYS
from hepatojax.io.study import OptimiseSpec, StudyFileError, WindowSpec, load_study
from hepatojax.io.study.document import AimSection, LimitSection, StudyFile, VariableSection
from hepatojax.io.study.journal import JOURNAL_FILE, JournalError, open_journal
from hepatojax.io.study.parts import fingerprint, infusions_of, study_parts, treated
from hepatojax.io.study.result import SEARCHED, WINDOWED, asked_record, named_limits, readings
from hepatojax.io.study.specification import ADJOINTS, METHODS
from hepatojax.numerics import adjoint
from hepatojax.scenario import ROUTES
from hepatojax.studies import optimise, window
from hepatojax.studies.certificate import Figure, GradientCertificate
from hepatojax.studies.objective import Aim, Course, Limit
from hepatojax.studies.program import REVERSE, Linearised, Outcome, Program
from hepatojax.studies.variables import Variable, dosed

CASE = """
[run]
end_h = 48.0
[[arm]]
name = "standard_care"
[[arm]]
name = "cells"
[[arm.infusion]]
start_h = 1.0
duration_h = 0.5
cells_per_kg = 1e6
route = "intravenous"
"""
HEAD = 'scenario = "case.toml"\narm = "cells"\n'
AIM = '[[aim]]\nquantity = "functional_mass"\n'
START = '[[variable]]\nname = "start_h[0]"\nlow = 0.0\nhigh = 24.0\n'
STUDY = HEAD + AIM + START


def test_the_keys_that_tell_a_study_from_a_scenario_are_those_of_one_of_them_alone():
    scenario, study = set(ScenarioFile.model_fields), set(StudyFile.model_fields)
    assert set(SCENARIO_KEYS) == scenario - study
    assert set(STUDY_KEYS) == study - scenario


@pytest.fixture
def write(tmp_path: Path):
    """Write a study beside its scenario and return its path."""
    (tmp_path / "case.toml").write_text(CASE)
    (tmp_path / "junk.toml").write_text("grid = = 3\n")

    def written(text: str) -> Path:
        path = tmp_path / "study.toml"
        path.write_text(text)
        return path

    return written


def refused(path: Path, overrides=None) -> list[str]:
    with pytest.raises(StudyFileError) as caught:
        study_parts(load_study(path, overrides))
    return str(caught.value).splitlines()


def test_a_short_study_has_the_defaults_of_the_solver(write):
    study = load_study(write(STUDY))
    assert (study.title, study.arm, study.scenario) == (
        "untitled",
        "cells",
        load_scenario(write("").parent / "case.toml"),
    )
    assert study.optimise == OptimiseSpec()
    assert (study.window.doses, study.window.least_gain, study.window.share) == (15, 0.01, 0.05)
    assert len(study.window.factors) == 6 and study.window.factors[0] == "amplification.phagocytes_per_msc"
    parts = study_parts(study)
    assert parts.aims == (Aim("functional_mass"),)
    assert parts.variables == (Variable("start_h[0]", 0.0, 24.0),)
    assert parts.schedule.start_h.tolist() == [1.0]


def test_defaults_and_choices_are_those_of_the_solver():
    """They stand twice, so that a file can be checked without JAX."""
    signature = inspect.signature(optimise.optimise_dose).parameters
    for name in ("method", "starts", "seed", "calls", "allow_failed_certificate"):
        assert getattr(OptimiseSpec(), name) == signature[name].default
    for name, parameter in inspect.signature(window.therapeutic_window).parameters.items():
        if name in ("share", "doses"):
            assert getattr(WindowSpec(), name) == parameter.default
    assert METHODS == optimise.METHODS
    assert set(ADJOINTS) == set(adjoint.ADJOINTS) - {"none"}
    for section, made in ((AimSection, Aim), (LimitSection, Limit), (VariableSection, Variable)):
        fields = {name: field.default for name, field in section.model_fields.items() if not field.is_required()}
        assert fields == {name: made.__dataclass_fields__[name].default for name in fields}
        assert list(section.model_fields) == list(made.__dataclass_fields__)


def test_settings_replace_what_the_scenario_says_and_the_command_line_comes_last(write):
    path = write(HEAD + '[set]\nrun.end_h = 72.0\n"run.steps_per_day" = 8\n' + AIM + START)
    assert load_study(path).scenario.run.end_h == 72.0
    run = load_study(path, {"run.end_h": 96.0}).scenario.run
    assert (run.end_h, run.steps_per_day) == (96.0, 8)


FRONT = '[pareto]\nlimit = "total_cells"\nlow = 1.0\nhigh = 4.0\n'
CASES = {
    "unknown key": (HEAD + AIM + START + "step = 1\n", "variable.start_h[0].step: unknown key"),
    "unknown section": (STUDY + "[optimize]\nstarts = 2\n", "optimize: unknown section or key, did you mean optimise?"),
    "key of a section at the top": (
        "starts = 2\n" + STUDY,
        "starts: unknown section or key here, did you mean optimise",
    ),
    "no aim": (HEAD + START, "aim: is missing; write at least one [[aim]]"),
    "aim without brackets": (HEAD + '[aim]\nquantity = "meld_smooth"\n' + START, "aim: may occur several times"),
    "no scenario": ('arm = "cells"\n' + AIM + START, "scenario: is missing"),
    "scenario that is not there": (
        'scenario = "cas.toml"\narm = "cells"\n' + AIM + START,
        "study.toml: scenario: cas.toml: no such file",
    ),
    "scenario without a name": (STUDY.replace("case.toml", ""), 'study.toml: scenario: "" must be the name of a file'),
    "scenario that nobody can type": (STUDY.replace("case.toml", "\\u0007"), "study.toml: scenario: "),
    "scenario that is a folder": (STUDY.replace("case.toml", "."), "study.toml: scenario: "),
    "scenario of a name beyond any file system": (
        STUDY.replace("case.toml", 300 * "a"),
        f'study.toml: scenario: "{56 * "a"}...: File name too long',
    ),
    "scenario that is no TOML": (
        STUDY.replace("case.toml", "junk.toml"),
        "study.toml: scenario: junk.toml: grid: line 1 is not TOML",
    ),
    "arm": (STUDY.replace('"cells"', '"cell"'), '"cell" is not one of standard_care, cells, did you mean cells?'),
    "arm without infusion": (STUDY.replace('"cells"', '"standard_care"'), "has no infusion"),
    "setting": (
        HEAD + "[set]\ngrid.cels = 3\n" + AIM + START,
        "case.toml: grid.cels: unknown key, did you mean cells?",
    ),
    "not a number": (STUDY.replace("24.0", '"24"'), 'variable.start_h[0].high: must be a number, not the text "24"'),
    "nan": (HEAD + AIM + "weight = nan\n" + START, "aim.1.weight: must be a finite number"),
    "method with limits": (
        STUDY + '[[limit]]\nquantity = "total_cells"\nmost = 2.0\n[optimise]\nmethod = "L-BFGS-B"\n',
        "keeps bounds and no limits",
    ),
    "no start": (STUDY + "[optimise]\nstarts = 0\n", "optimise.starts: 0 is outside 1..1024"),
    "no adjoint": (STUDY + '[optimise]\nadjoint = "none"\n', '"none" is not one of saved, two-level'),
    "checkpoints of no adjoint": (
        STUDY + "[optimise]\ncheckpoints = 4\n",
        'study.toml: optimise.checkpoints: 4 is given, but only adjoint = "two-level" has checkpoints',
    ),
    "checkpoints that do not divide": (
        STUDY + '[optimise]\nadjoint = "two-level"\ncheckpoints = 5\n',
        "study.toml: optimise.checkpoints: is 5; 8 macro-steps allow 1, 2, 4, 8",
    ),
    "no checkpoints": (
        STUDY + '[optimise]\nadjoint = "two-level"\ncheckpoints = 0\n',
        "optimise.checkpoints: 0 is outside 1..100000",
    ),
    "factor": (STUDY + '[window]\nfactors = ["amplification.licencing"]\n', "did you mean amplification.licensing?"),
    "factor of the start state": (
        STUDY + '[window]\nfactors = ["oxygen.p50_mmHg", "amplification.licensing"]\n',
        '"oxygen.p50_mmHg" moves the start state, which a window keeps; only amplification.* may be one',
    ),
    "factor twice": (
        STUDY + '[window]\nfactors = ["amplification.licensing", "amplification.licensing"]\n',
        'window.factors: "amplification.licensing" is given twice; keep one',
    ),
    "route": (STUDY + '[window]\nroutes = ["oral"]\n', "window.routes.1: "),
    "route twice": (
        STUDY + '[window]\nroutes = ["portal", "arterial", "portal"]\n',
        'window.routes: "portal" is given twice; keep one',
    ),
    "two doses": (STUDY + "[window]\ndoses = 2\n", "window.doses: 2 is outside 3..1000"),
    "no share": (STUDY + "[window]\nshare = 0.0\n", "window.share: 0 is not above 0 and below 1"),
    "all of the gain": (STUDY + "[window]\nshare = 1.0\n", "window.share: 1 is not above 0 and below 1"),
    "keeps all": (
        STUDY + '[[variable]]\nname = "cells_per_kg[0]"\nlow = 0.0\nhigh = 1e6\n[fewer]\nkeep = 1\n',
        "fewer.keep: must be below the number of variables cells_per_kg[i], 1 (got 1)",
    ),
    "none kept": (STUDY + "[fewer]\nkeep = 0\n", "fewer.keep: 0 is outside 1..1000"),
    "misspelt key of fewer": (STUDY + "[fewer]\nkep = 1\n", "fewer.kep: unknown key, did you mean keep?"),
    "front of no limit": (
        STUDY + '[[limit]]\nquantity = "total_cells"\nmost = 2.0\n' + FRONT.replace("total_cells", "total_cell"),
        'pareto.limit: "total_cell" is not the quantity of a limit (total_cells), did you mean total_cells?',
    ),
    "front of each infusion": (
        STUDY + '[[limit]]\nquantity = "each_portal"\nmost = 2.0\n' + FRONT.replace("total_cells", "each_portal"),
        'pareto.limit: "each_portal" holds for every infusion; a front wants one number',
    ),
    "front of falling bounds": (
        STUDY + '[[limit]]\nquantity = "total_cells"\nmost = 2.0\n' + FRONT.replace("4.0", "0.5"),
        "pareto.high: must be above pareto.low, 1 (got 0.5)",
    ),
    "variable twice": (STUDY + START, "variable.start_h[0]: is given twice"),
    "quantity": (STUDY.replace("functional_mass", "functional_mas"), "aim.1: functional_mas: neither an endpoint"),
    "no derivative": (STUDY.replace("functional_mass", "meld"), "aim.1: meld: it has no derivative"),
    "bounds": (STUDY.replace("24.0", "0.0"), "variable.start_h[0]: wants finite bounds"),
    "limit without bound": (STUDY + '[[limit]]\nquantity = "meld_smooth"\n', "give either most or least"),
    "infusion": (STUDY.replace("[0]", "[2]"), "variable.start_h[2]: the schedule has 1 infusions"),
    "start outside the run": (STUDY.replace("24.0", "49.0"), "outside the run, which is 0..48 h"),
    "infusion beyond the end": (STUDY.replace("24.0", "47.75"), "lets infusion 0 end at 48.25 h, after the run"),
    "product beyond the scenario": (
        STUDY + '[[variable]]\nname = "product.homing"\nlow = 0.0\nhigh = 20.0\n',
        "variable.product.homing.high: product.homing: 20 is outside 0..10",
    ),
    "shares without rest": (
        STUDY + '[[variable]]\nname = "route_mix[0].intravenous"\nlow = 0.0\nhigh = 1.0\n',
        "no route of the schedule takes the rest",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_study_is_refused_in_one_line(case, write):
    text, words = CASES[case]
    lines = refused(write(text))
    assert len(lines) == 1 and words in lines[0], lines
    assert lines[0].startswith(("study.toml: ", "case.toml: "))


def test_all_problems_are_told_at_once(write):
    bad = STUDY.replace("24.0", "true") + "[set]\nrun.end_h = -1.0\n[optimise]\nstarts = 0\nseed = -1\n"
    lines = refused(write(bad))
    assert len(lines) == 4
    for words in ("start_h[0].high", "optimise.starts", "optimise.seed", "case.toml: run.end_h"):
        assert sum(words in line for line in lines) == 1
    meaning = refused(write(STUDY.replace("functional_mass", "mled").replace("24.0", "-1.0")))
    assert ["aim.1" in meaning[0], "start_h[0]" in meaning[1], len(meaning)] == [True, True, 2]


def test_reading_a_study_loads_no_jax(write, fresh_python):
    code = f"import sys; from hepatojax.io.study import load_study; load_study({str(write(STUDY))!r})"
    assert fresh_python(f"{code}; print('jax' in sys.modules)") == "False\n"


SPLIT = (
    STUDY
    + """
[[variable]]
name = "route_mix[0].portal"
low = 0.0
high = 1.0
[[variable]]
name = "product.potency_hgf"
low = 0.5
high = 2.0
[[variable]]
name = "product.batch_spread"
low = 1.5
high = 2.5
"""
)


def test_the_best_arm_is_a_scenario_that_is_accepted_and_says_the_same(write, tmp_path):
    study = load_study(write(SPLIT))
    parts = study_parts(study)
    schedule, product = dosed(parts.variables, parts.schedule, parts.product, jnp.asarray([0.5, 0.25, 0.5, 0.5]))
    path = tmp_path / "best.toml"
    path.write_text(scenario_to_toml(treated(study.scenario, schedule, product)))
    best = load_scenario(path)
    cells = {infusion.route: infusion.cells_per_kg for infusion in best.arm("after").infusions}
    assert cells == pytest.approx({"intravenous": 0.75e6, "portal": 0.25e6})
    assert {(i.start_h, i.duration_h) for i in best.arm("after").infusions} == {(12.0, 0.5)}
    again = study_parts(load_study(write(SPLIT.replace("case.toml", "best.toml").replace('"cells"', '"after"'))))
    assert float(again.product.potency_hgf) == pytest.approx(float(product.potency_hgf)) == pytest.approx(1.25)
    assert float(again.product.batch_spread) == pytest.approx(float(product.batch_spread)) == pytest.approx(2.0)


def test_rows_without_cells_are_no_infusions(write):
    parts = study_parts(load_study(write(STUDY + '[[variable]]\nname = "cells_per_kg[0]"\nlow = 0.0\nhigh = 2e6\n')))
    assert infusions_of(dosed(parts.variables, parts.schedule, parts.product, jnp.asarray([0.5, 0.0]))[0]) == ()


def test_the_fingerprint_is_of_what_a_place_means_and_not_of_how_it_is_sought(write):
    def of(text: str, **settings: float) -> str:
        study = load_study(write(text), settings)
        return fingerprint(study, study_parts(study))

    two_level = '[optimise]\nadjoint = "two-level"\n'
    assert of(STUDY + two_level + "checkpoints = 4\n") == of(STUDY + two_level)
    same = of(STUDY)
    assert of(STUDY + "[optimise]\nstarts = 3\ncalls = 7\n") == of('title = "other"\n' + STUDY) == same
    others = (
        of(STUDY.replace("24.0", "23.0")),
        of(STUDY.replace("functional_mass", "mass")),
        of(STUDY + '[[limit]]\nquantity = "total_cells"\nmost = 2.0\n'),
        of(STUDY + two_level),
        of(STUDY, **{"disease.activity": 1.0}),
    )
    assert len({same, *others}) == 6


def test_limits_are_named_and_read_in_the_order_of_the_solver(write):
    limits = '[[limit]]\nquantity = "total_cells"\nmost = 2.0\n[[limit]]\nquantity = "albumin_g_l"\nleast = 20.0\n'
    parts = study_parts(load_study(write(STUDY + limits)))
    names = [name for name, _ in named_limits(parts)]
    assert names == ["albumin_g_l end least", "total_cells most"]
    course = Course({"albumin_g_l": jnp.asarray([30.0, 25.0])}, parts.schedule, (0,))
    readings = [limit.reading_at(float(limit.excess(course)[0])) for _, limit in named_limits(parts)]
    assert readings == pytest.approx([25.0, 1.0])
    assert ROUTES[0] == "intravenous"


def test_what_was_asked_is_said_with_units_bounds_and_the_fingerprint(write):
    limits = '[[limit]]\nquantity = "total_cells"\nmost = 2.0\n[[limit]]\nquantity = "albumin_g_l"\nleast = 20.0\n'
    study = load_study(write(STUDY + limits))
    parts = study_parts(study)
    asked = asked_record(study, parts, SEARCHED)
    assert "fewer" not in asked and "window" not in asked
    assert asked_record(study, parts, WINDOWED)["window"]["least_gain"] == study.window.least_gain
    assert (asked["arm"], asked["fingerprint"]) == ("cells", fingerprint(study, parts))
    (aim,) = asked["aims"]
    assert (aim["quantity"], aim["at"], aim["weight"], aim["unit"]) == ("functional_mass", "end", 1.0, "-")
    bounds = [(limit["quantity"], limit["most"], limit["least"], limit["unit"]) for limit in asked["limits"]]
    assert bounds == [("total_cells", 2.0, None, "1e6 cells/kg"), ("albumin_g_l", None, 20.0, "g/l")]
    assert (asked["optimise"]["adjoint"], asked["optimise"]["checkpoints"]) == ("saved", None)
    assert asked["variables"] == [{"name": "start_h[0]", "low": 0.0, "high": 24.0, "scale": "linear", "unit": "h"}]


@pytest.mark.parametrize("variables", [1, 2, 3])
@pytest.mark.parametrize(
    "limits", [(), ("total_cells",), ("blocked_peak",), ("blocked_peak", "each_portal", "meld_smooth")]
)
def test_outputs_of_a_reverse_pass_are_those_of_the_program(write, limits, variables):
    """The estimate of memory counts them without JAX."""
    peak = {"blocked_peak": 'at = "peak"\n'}
    text = "".join(f'[[limit]]\nquantity = "{name}"\nmost = 20.0\n{peak.get(name, "")}' for name in limits)
    chosen = ("duration_h[0]", "cells_per_kg[0]")[: variables - 1]
    text += "".join(f'[[variable]]\nname = "{name}"\nlow = 0.5\nhigh = 1.0\n' for name in chosen)
    study = load_study(write(STUDY + text))
    outputs = 1 + sum(limit.simulated for limit in study_parts(study).limits)
    function = lambda x, _: Outcome(jnp.sum(x), jnp.zeros(outputs - 1), jnp.zeros((), jnp.int32))  # noqa: E731
    names = tuple(variable["name"] for variable in study.variables)
    program = Program(function, (), names, tuple(f"limit {i}" for i in range(1, outputs)))
    assert study.cotangents == program._rows(REVERSE)


HEADER = {"sha256": "a" * 64, "title": "mine"}


def linearised(value: float, status: int = 0) -> Linearised:
    outcome = Outcome(np.asarray(value), np.asarray([0.1, value / 3.0]), np.asarray(status, np.int32))
    return Linearised(outcome, np.full((3, 2), value / 7.0))


def never():
    raise AssertionError("computed again")


def fill(folder: Path) -> None:
    with open_journal(folder, HEADER) as journal:
        journal.screened(2, 5, lambda: np.asarray([[0.1, 0.2], [0.3, 1.0 / 3.0]]))
        for number, x in enumerate((0.1, 1.0 / 3.0, -0.0)):
            journal.linearised(number, np.asarray([x, 0.2]), lambda x=x: linearised(x))


def test_a_journal_gives_back_every_bit_without_computing(tmp_path):
    fill(tmp_path)
    rate = Figure("R1", 2.0, 1.95, "at least", decades=3.3)
    proof = GradientCertificate(np.asarray([0.5]), np.asarray([-1.0]), (rate,))
    beside = GradientCertificate(np.asarray([0.6]), np.asarray([1.0]), (Figure("modes", np.nan, 1e-7),))
    with open_journal(tmp_path, HEADER) as journal:
        assert journal.screened(2, 5, never).tolist() == [[0.1, 0.2], [0.3, 1.0 / 3.0]]
        for x in (0.1, 1.0 / 3.0, 0.0):
            found = journal.linearised(0, np.asarray([x, 0.2]), never)
            known = linearised(x)
            for one, other in zip((*found.outcome, found.jacobian), (*known.outcome, known.jacobian), strict=True):
                assert np.array_equal(one, other) and one.dtype == other.dtype
        assert (journal.recalled, journal.computed) == (3, 0)
        journal.certificate(np.asarray([0.1, 0.2]), 5, lambda: proof)
        journal.certificate(np.asarray([0.7, 0.2]), 5, lambda: beside)
        with pytest.raises(AssertionError, match="computed again"):
            journal.screened(2, 6, never)
    with open_journal(tmp_path, HEADER) as journal:
        again = journal.certificate(np.asarray([0.1, 0.2]), 5, never)
        assert again.figures == proof.figures and again.place.tolist() == [0.5]
        other = journal.certificate(np.asarray([0.7, 0.2]), 5, never)
        assert np.isnan(other.figures[0].value) and np.isnan(other.figures[0].decades) and not other.passed


def test_a_failed_place_is_recalled_as_failed(tmp_path):
    with open_journal(tmp_path, HEADER) as journal:
        journal.linearised(0, np.asarray([0.5]), lambda: linearised(np.nan, 2))
    with open_journal(tmp_path, HEADER) as journal:
        found = journal.linearised(0, np.asarray([0.5]), never)
    assert int(found.status) == 2 and np.isnan(found.outcome.objective)
    for line in (tmp_path / JOURNAL_FILE).read_text().splitlines():
        json.loads(line, parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))


def test_every_crash_point_of_the_last_line_leaves_the_lines_before_it(tmp_path):
    fill(tmp_path)
    path = tmp_path / JOURNAL_FILE
    whole = path.read_bytes()
    last = whole.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(last, len(whole)):
        path.write_bytes(whole[:end])
        with open_journal(tmp_path, HEADER) as journal:
            for x in (0.1, 1.0 / 3.0):
                journal.linearised(0, np.asarray([x, 0.2]), never)
            journal.linearised(2, np.asarray([0.0, 0.2]), lambda: linearised(-0.0))
            assert journal.computed == 1
        assert len(path.read_bytes().splitlines()) == 5
        with open_journal(tmp_path, HEADER) as journal:
            journal.linearised(2, np.asarray([0.0, 0.2]), never)
    path.write_bytes(whole[:last] + b"\x00\xff\x00\n")
    with open_journal(tmp_path, HEADER) as journal:
        journal.linearised(0, np.asarray([0.1, 0.2]), never)


def test_a_journal_of_another_study_or_with_a_damaged_line_is_refused(tmp_path):
    fill(tmp_path)
    path = tmp_path / JOURNAL_FILE
    whole = path.read_bytes()
    with pytest.raises(JournalError, match="another study \\('mine'\\); choose another -o"):
        open_journal(tmp_path, {"sha256": "b" * 64}).__enter__()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join([*lines[:2], lines[2][:-9] + b"\n", *lines[3:]]))
    with pytest.raises(JournalError, match="line 3 is damaged"):
        open_journal(tmp_path, HEADER).__enter__()


@pytest.mark.parametrize("text", [STUDY, "[scenario]\n[scenario.grid]\ncells = [4, 4, 1]\n", AIM, "[window]\n"])
def test_a_study_in_the_place_of_a_scenario_is_named_as_one(write, text):
    path = write(text)
    with pytest.raises(ScenarioError) as refused:
        load_scenario(path)
    own = '; its scenario is "case.toml"' if text == STUDY else ""
    line = f"study.toml: is a study, which hepatojax optimise and hepatojax window read, and no scenario{own}"
    assert str(refused.value) == line
    path.with_name("other.toml").write_text(STUDY.replace("case.toml", "study.toml"))
    with pytest.raises(StudyFileError) as refused:
        load_study(path.with_name("other.toml"))
    assert str(refused.value) == line


def test_a_scenario_in_the_place_of_a_study_is_named_as_one(write):
    with pytest.raises(StudyFileError) as refused:
        load_study(write("").with_name("case.toml"))
    assert str(refused.value) == (
        "case.toml: is a scenario, which hepatojax run and hepatojax check read, and no study; see docs/study.md"
    )


def test_a_journal_of_another_format_is_refused_and_left_as_it_is(tmp_path):
    fill(tmp_path)
    path = tmp_path / JOURNAL_FILE
    for text in (path.read_text().replace("iterates 2", "iterates 1"), '{"sha256": "' + 64 * "a" + '"}\n'):
        path.write_text(text)
        with pytest.raises(JournalError, match=r"its format is .*, not 'hepatojax iterates 2'; choose"):
            open_journal(tmp_path, HEADER).__enter__()
        assert path.read_text() == text


def test_a_journal_of_another_program_is_refused_where_both_are_known(tmp_path):
    was = "abc+changes.12"
    with open_journal(tmp_path, {**HEADER, "source_revision": was}) as journal:
        journal.linearised(0, np.asarray([0.1]), lambda: linearised(1.0))
    for revision in ("abc", "abc+changes.34", "def", "def+unknown"):
        with pytest.raises(JournalError) as refused:
            open_journal(tmp_path, {**HEADER, "source_revision": revision}).__enter__()
        assert f"another program (revision {was}, this one is {revision}); choose another -o" in str(refused.value)
        assert "\n" not in str(refused.value)
    for known in ({"source_revision": was}, {"source_revision": "abc+unknown"}, {"source_revision": ""}, {}):
        with open_journal(tmp_path, {**HEADER, **known}) as journal:
            journal.linearised(0, np.asarray([0.1]), never)


def test_a_journal_asks_before_it_computes(tmp_path):
    class Enough(Exception):
        pass

    def stop():
        raise Enough

    fill(tmp_path)
    with open_journal(tmp_path, HEADER, stop) as journal:
        journal.linearised(0, np.asarray([0.1, 0.2]), never)
        with pytest.raises(Enough):
            journal.linearised(0, np.asarray([0.7, 0.2]), never)


def test_a_limit_of_a_front_is_missed_as_a_key_and_not_as_a_section(write):
    with pytest.raises(StudyFileError) as refused:
        load_study(write(STUDY + "[pareto]\n"))
    assert [line for line in refused.value.lines if "pareto.limit" in line] == ["study.toml: pareto.limit: is missing"]


def test_a_finished_run_is_read_at_its_peak_of_plugging(write):
    """Of each macro-step the file holds the largest reading; the smooth maximum lies w log 3 above it at most."""
    limit = '[[limit]]\nquantity = "blocked_peak"\nat = "peak"\nmost = 0.1\n'
    parts = study_parts(load_study(write(STUDY + limit)))
    run, blocked = object.__new__(RunFile), np.array([0.0, 0.05, 0.02])
    object.__setattr__(run, "series", {"functional_mass": np.array([0.5, 0.4, 0.45]), "blocked_peak": blocked})
    (found,) = readings(parts, run, parts.schedule)["limits"]
    assert 0.05 <= found["reading"] <= 0.05 + 0.1 / parts.limits[0].sharpness * np.log(3.0)
    assert found["excess"] < 0.0
