"""docs/tokens.md: its program runs as it stands there, and its run has what the page says."""

from __future__ import annotations

import biasvar
from biasvar.report.figures.kinds import FIGURE
from tests.integrations.pages import run_page


def test_the_program_gives_bias_and_variance_of_tokens_by_kind(tmp_path):
    said = run_page("tokens", tmp_path)
    assert said.count("nats a byte") == 2
    run = biasvar.open_run(tmp_path / "runs" / "tokens")
    frame = FIGURE.collect([run])
    assert set(frame["kind"]) == {"letter", "space", "other"}
    assert set(frame["arm"]) == {"ce", "kd"}
    assert set(frame["quantity"]) == {"bias", "variance", "share_opposing", "wsl_weight"}
    record = run.records(columns=["sample_id"], arm="kd", replicas=0)
    assert (record["sample_id"] % 32 >= 8).all()
