"""Study files as text: what YAML reads otherwise than it looks is refused in one line, with the file and the line."""

from __future__ import annotations

import copy
import re
import time
from contextlib import suppress

import pytest
import yaml

from biasvar.errors import StudyError
from biasvar.run import main
from biasvar.study import Arm, load_study, resolve_study
from biasvar.study.yaml_text import read_yaml

HEAD = """\
name: small
data: {test: 300}
student: {hidden: [3]}
learning_rate: {value: 0.1}
schedule: {epochs: 1}
draw: {kind: bootstrap}
teachers: {main: {hidden: [4]}}
"""
ARMS = "arms: {ce: {loss: cross_entropy}}\n"
KD = "arms: {kd: {loss: distillation, teacher: main, temperature: 2, alpha: 1}}\n"


def loaded(tmp_path, text, overrides=()):
    path = tmp_path / "study.yaml"
    path.write_text(text, encoding="utf-8")
    return load_study(path, overrides=overrides)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEAD}{ARMS}name: other\n", "study.yaml, line 9: the key 'name' is given twice, first in line 1"),
        (f"{HEAD}arms: {{ce: {{loss: cross_entropy, loss: label_smoothing}}}}\n", "line 8: the key 'loss' is given"),
        (f"{HEAD}arms:\n  'ce': {{loss: cross_entropy}}\n  ce: {{}}\n", "line 10: the key 'ce' .* first in line 9"),
        (f"{HEAD}{ARMS}claims: {{W4: [{{arm: ce, arm: ce}}]}}\n", "line 9: the key 'arm' is given twice"),
        (f"{HEAD}arms:\n  no: {{loss: cross_entropy}}\n", "line 9: YAML reads the key no as false; .* quotes, 'no'"),
        (HEAD.replace("main", "on") + ARMS, "line 7: YAML reads the key on as true"),
        (f"{HEAD}{ARMS}soft_labels: {{1: {{kind: label}}}}\n", "line 9: YAML reads the key 1 as a number"),
        (f"{HEAD}{ARMS}defaults: {{~: 1}}\n", "line 9: YAML reads the key ~ as nothing"),
        (f"{HEAD}{ARMS}? [a, b]\n: 1\n", "line 9: a list or a mapping stands where a key belongs"),
        (f"{HEAD}{ARMS}title: 2026-11-28\n", "line 9: YAML reads 2026-11-28 as a date; write text in quotes"),
        (f"{HEAD}{ARMS}title: !!timestamp '2026-11-28'\n", "line 9: YAML reads 2026-11-28 as a date"),
        (f"{HEAD}{ARMS}title: !!binary aGk=\n", "line 9: !!binary is not for study files"),
        (f"{HEAD}{ARMS}share: !!set {{a, b}}\n", "line 9: !!set is not for study files"),
        (f"{HEAD}{ARMS}title: !!python/object/apply:os.getcwd []\n", "line 9: !!python/object/apply:os.getcwd is not"),
        (f"{HEAD}{ARMS}seed: !!int abc\n", "line 9: !!int abc: that is none"),
        (f"{HEAD}{ARMS}seed: !!bool maybe\n", "line 9: !!bool maybe: that is none"),
        (f"{HEAD}{ARMS}seed: 010\n", "line 9: YAML reads 010 as a number in base 8"),
        (f"{HEAD}{ARMS}seed: 1:30\n", "line 9: YAML reads 1:30 as a number in base 60"),
        (f"{HEAD}{ARMS}seed: {'9' * 5000}\n", "line 9: a number of 5000 digits"),
        (f'{HEAD}{ARMS}title: "\\ud800"\n', "line 9: .* half a character"),
        (f'{HEAD}{ARMS}title: "\\U00110000"\n', "is no valid YAML"),
        (f"{HEAD}arms: &a {{ce: *a}}\n", r"line 8: \*a stands within what it stands for"),
        (f"{HEAD}arms: *none\n", "is no valid YAML: line 8, column 7: found undefined alias"),
        (f"{HEAD}{ARMS}share: {'[' * 5000}{']' * 5000}\n", "line 9: more than 32 lists and mappings"),
        (f"{HEAD}{ARMS}a: 1\n---\nb: 2\n", "is no valid YAML: line 10"),
        ("", "this one holds nothing"),
        ("- a\n", "this one holds a list"),
        ("12", "this one holds 12"),
    ],
)
def test_what_yaml_reads_otherwise_than_it_looks_is_refused_with_the_line(tmp_path, text, message):
    with pytest.raises(StudyError, match=message) as caught:
        loaded(tmp_path, text)
    assert "study.yaml" in str(caught.value)


def test_aliases_that_stand_for_billions_of_entries_are_refused_at_once(tmp_path):
    laughs = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
    laughs += "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12))
    begun = time.perf_counter()
    with pytest.raises(StudyError, match="line 5: more than 100,000 entries, aliases written out"):
        loaded(tmp_path, laughs + HEAD + ARMS)
    chain = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 500))
    with pytest.raises(StudyError, match=r"more than 32 lists .* by way of aliases"):
        loaded(tmp_path, chain + HEAD + ARMS)
    assert time.perf_counter() - begun < 5


def test_anchors_and_merged_keys_work_and_are_copies(tmp_path):
    text = f"{HEAD}arms:\n  ce: &ce {{loss: cross_entropy, label: one}}\n  same: *ce\n  two: {{<<: *ce, label: two}}\n"
    study = loaded(tmp_path, text, ["arms.ce.label=changed"])
    assert [arm.label for arm in study.arms.values()] == ["changed", "one", "two"]
    with pytest.raises(StudyError, match=r"line 10: the key '<<' is given twice.*<<: \[\*a, \*b\]"):
        loaded(tmp_path, f"{HEAD}arms:\n  ce: &ce {{loss: cross_entropy}}\n  two: {{<<: *ce, <<: *ce}}\n")


def test_a_file_is_read_as_before(tmp_path):
    """What is refused is refused for a reason; all else has the value that PyYAML gives it."""
    text = (
        "a: [1, -2, 0x10, 1_000, 1.5, .5, 1e3, 1.0e+3, 0, 0.0, 0.10]\nb: {c: yes, d: 'yes', e: ~, f: null, g: ''}\n"
        'h: |\n  text\n  more\ni: ! 12\nj: !!str 12\nk: !!float 3\n"l": "\\u00e9"\nm: 08\nn: a:b\n'
    )
    assert read_yaml(text, "text") == yaml.safe_load(text)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off", "true", "false"])
@pytest.mark.parametrize(
    ("text", "key"),
    [
        (
            HEAD + KD.replace("temperature: 2", "temperature: WORD"),
            "arms.kd.temperature: (must be a number, not true|needed for)",
        ),
        (HEAD.replace("[3]", "[3, WORD]") + ARMS, r"student.hidden: \[1\] must be a number"),
        (HEAD.replace("300", "WORD") + ARMS, "data.test: must be a number"),
        (HEAD.replace("value: 0.1", "grid: [0.1, WORD]") + ARMS, r"learning_rate.grid: \[1\] must be a number"),
        (HEAD.replace("epochs: 1", "epochs: WORD") + ARMS, "schedule.epochs: must be a number"),
        (f"{HEAD}{ARMS}record: {{epochs: [1, WORD]}}\n", r"record.epochs: \[1\] must be a number or text in quotes"),
        (f"{HEAD}{ARMS}seed: WORD\n", "seed: must be a number"),
        (f"{HEAD}{ARMS}claims: {{W4: [{{arm: WORD}}]}}\n", r"claims: \[W4\]\[0\]\[arm\] must be text in quotes"),
        (f"{HEAD}{ARMS}soft_labels: {{s: {{kind: pattern, mass: [WORD]}}}}\n", r"soft_labels.s.mass: \[0\] must be"),
        (f"{HEAD}{KD}defaults: {{smoothing: WORD}}\n", ""),
        (
            f"{HEAD}arms: {{ls: {{loss: label_smoothing}}}}\ndefaults: {{smoothing: WORD}}\n",
            "arms.ls.smoothing: (must be a number|needed)",
        ),
        (HEAD.replace("small", "WORD") + ARMS, "name: must be text in quotes, not true or false"),
    ],
)
def test_booleans_are_no_numbers_and_no_words(tmp_path, text, key, word):
    text = text.replace("WORD", word)
    if not key:  # a default that no arm takes
        assert loaded(tmp_path, text).arms["kd"].alpha == 1
        return
    with pytest.raises(StudyError, match=key):
        loaded(tmp_path, text)


def test_booleans_are_refused_in_settings_of_ones_own_and_taken_where_they_belong(tiny_study):
    class Own(Arm):
        strength: float
        switch: bool | float = 1.0

    assert Own(loss="a:B", strength=1, switch=True).switch is True
    with pytest.raises(ValueError, match=r"strength\n.*must be a number, not true"):
        Own(loss="a:B", strength=True)
    tiny_study["data"] |= {"flip": True}
    assert resolve_study(tiny_study).data.flip is True
    with pytest.raises(StudyError, match="seed: must be a number"):
        resolve_study({**tiny_study, "seed": True})


def test_a_pattern_of_names_is_said_in_words(tmp_path):
    wanted = r"a name must be a small letter a-z first, then small letters, digits and _ \(pattern .*\), not "
    for text, key in (
        (f"{HEAD}arms: {{'A b': {{loss: cross_entropy}}}}\n", r"arms\.A b"),
        (HEAD.replace("main", "1st") + ARMS, r"teachers\.1st"),
        (HEAD.replace("small", "../up") + ARMS, "name"),
        (f"{HEAD}{ARMS}soft_labels: {{'-': {{kind: label}}}}\n", r"soft_labels\.-"),
        (f"{HEAD}{ARMS}share: [Other]\n", r"share\.0"),
    ):
        with pytest.raises(StudyError, match=f"{key}: {wanted}"):
            loaded(tmp_path, text)


SCALARS = ["[]", "{}", "~", "12", "-1", "1.5", "''", "text", "[[]]", "{a: b}", "[~]", ".nan", ".inf", "yes", "':'"]


def leaves(value, place=()):
    """The place of everything in a study."""
    if place:
        yield place
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from leaves(inner, (*place, key))


def test_any_value_anywhere_is_taken_or_refused_in_one_line(tiny_study):
    """A list, a mapping, null or an odd scalar in the place of everything that a study says."""
    tiny_study |= {
        "claims": {"W1": [{"treatment": "kd", "control": "ce"}], "W5": [{"arms": ["kd", "wsl"]}]},
        "soft_labels": {
            "given": {"kind": "partial", "unreliability": 0.1, "ambiguity": 0.2, "labelled": 5},
            "mixed": {"kind": "mixture", "shares": {"given": 1.0}},
            "counted": {"kind": "pattern", "mass": [1.0]},
        },
        "record": {"epochs": [1]}, "share": ["other"], "reference_teacher": "main", "title": "T",
    }  # fmt: skip
    tiny_study["arms"] = {name: tiny_study["arms"][name] for name in ("ce", "kd", "wsl", "wsl_recorded")}
    resolve_study(copy.deepcopy(tiny_study))
    values = [yaml.safe_load(scalar) for scalar in SCALARS]
    tried = 0
    for place in leaves(tiny_study):
        for value in values:
            raw = copy.deepcopy(tiny_study)
            node = raw
            for part in place[:-1]:
                node = node[part]
            node[place[-1]] = value
            with suppress(StudyError):  # anything else is a fault
                resolve_study(raw)
            tried += 1
    assert tried > 1000


@pytest.mark.parametrize(("key", "value"), [("loss", []), ("loss", {"a": "b"}), ("loss", None), ("loss", 3)])
def test_a_loss_that_is_no_word_is_named(tiny_study, key, value):
    tiny_study["arms"]["ce"][key] = value
    with pytest.raises(StudyError, match=r"arms\.ce\.loss: must be 'cross_entropy'.*, not (a list|a mapping|null|3)"):
        resolve_study(tiny_study)
    with pytest.raises(StudyError, match="defaults: must be a mapping of keys to values, not a list"):
        resolve_study({**tiny_study, "defaults": []})


def chain(tmp_path, length):
    (tmp_path / "0.yaml").write_text(HEAD + ARMS)
    for i in range(1, length):
        (tmp_path / f"{i}.yaml").write_text(f"extends: {i - 1}.yaml\nseed: {i}\n")
    return tmp_path / f"{length - 1}.yaml"


def test_long_chains_of_extends_take_time_in_proportion_and_end(tmp_path):
    assert load_study(chain(tmp_path, 900)).seed == 899
    with pytest.raises(StudyError, match=r"extends: more than 1000 files that extend one another"):
        load_study(chain(tmp_path, 1002))
    (tmp_path / "0.yaml").write_text("extends: 7.yaml\n")
    with pytest.raises(StudyError, match=r"0.yaml: extends: 7.yaml extends this file in turn"):
        load_study(tmp_path / "900.yaml")


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "arms.kd.temperature=yes"],
        ["--set", "seed=2026-11-28"],
        ["--set", "arms={kd: {loss: [], loss: 1}}"],
        ["--set", "arms.kd.loss=[]"],
        ["--set", "arms=!!set {a}"],
        ["--set", "title='\ud800'"],
    ],
)
def test_overrides_are_read_by_the_same_rules(tmp_path, capsys, arguments):
    (tmp_path / "study.yaml").write_text(HEAD + KD)
    assert main([str(tmp_path / "study.yaml"), "--dry-run", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("biasvar: error: ")
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("override", "said"),
    [
        (
            "record.epochs=~",
            "record.epochs: must be 'all' or 'last', or must be a valid integer, or must be a list, not null",
        ),
        ("arms={}", "arms: must not be empty"),
        ("seed=99999999999999999999", "seed: must be less than 9223372036854775808"),
        ("schedule.weight_decay=1e300", "schedule.weight_decay: must be a number of at most 1e+30, not 1e+300"),
        ("learning_rate={grid: [0.1, 1e39]}", "learning_rate.grid: must be a number of at most 1e+30, not 1e+39"),
        ("data.name=''", "data.name: must not be empty"),
        ("extends=other.yaml", "extends: only a study file can say it"),
        ("schedule.batch-size=3", "schedule.batch-size: unknown key, did you mean 'batch_size'?"),
        ("claims={W5: [{arms: 1}]}", "claims.W5.0.arms: must be text, or must be a list, not 1"),
        (
            "teachers.main.rows=al",
            "rows: must be 'all', 'reserved' or 'own', or must be a valid integer, not 'al'",
        ),
        ("arms.a-b={loss: cross_entropy}", "arms.a-b: a name must be a small letter a-z first"),
    ],
)
def test_a_key_is_named_once_as_it_is_written(tmp_path, override, said):
    with pytest.raises(StudyError, match=re.escape(said)) as caught:
        loaded(tmp_path, HEAD + KD, [override])
    assert str(caught.value).count(said.partition(":")[0]) == 1
