"""Where a fleet on this machine gets its broker, as far as no broker is needed to tell."""

from __future__ import annotations

from pathlib import Path

import pytest

from distributary.errors import UsageError
from distributary.exits import ExitCode
from distributary.fleet.broker import open_broker

SOMEBODYS_BROKER = {"DISTRIBUTARY_AMQP_URL": "amqp://guest:guest@127.0.0.1:9/theirs"}


@pytest.mark.parametrize("management", [{}, {"DISTRIBUTARY_MANAGEMENT_URL": ""}], ids=["not set", "empty"])
def test_broker_by_url_without_its_management_api_is_refused_with_the_variable_to_set(
    management: dict[str, str], tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="DISTRIBUTARY_MANAGEMENT_URL is not") as refused:
        open_broker(SOMEBODYS_BROKER | management, tmp_path)
    assert refused.value.exit_code is ExitCode.USAGE
    assert "DISTRIBUTARY_MANAGEMENT_URL" in refused.value.hint
