"""The page "Your own data" runs as it stands, and its file is trained; the digits in the package are the archive's."""

import hashlib
import json

import numpy as np
import threadpoolctl

from docs.outputs import OWN_DATA, ROOT, fences, run_fences
from tsslbp_ref import cli, datasets
from tsslbp_ref.training.run_files import CONFIG, read_metrics

PAGE = ROOT / OWN_DATA


def test_the_page_runs_prints_what_stands_below_its_fences_and_its_file_is_trained(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with threadpoolctl.threadpool_limits(limits=1):
        namespace, results = run_fences(PAGE)
    for result in results:
        assert result.printed == result.stands, f"{PAGE}:{result.fence.line}: `python -m docs.outputs` writes it"
    assert namespace["net"].score(namespace["X_test"], namespace["y_test"]) > 0.85
    (file,) = (fence.code for fence in fences(PAGE) if fence.language == "toml")
    (tmp_path / "digits.toml").write_text(file)
    assert cli.main(["train", "digits.toml", "--threads", "1", "--quiet", "--epochs", "4"]) == 0
    folder = tmp_path / "runs" / "digits" / "released-held-out-100" / "seed0"
    assert read_metrics(folder)[-1]["validation_accuracy"] > 0.7
    config = json.loads((folder / CONFIG).read_text())
    assert (config["task"]["n_train"], config["task"]["n_test"]) == (1197, 500)


def test_the_digits_are_those_of_the_archive():
    X, y = datasets.load_digits()
    assert (X.shape, X.dtype, X.max(), y.dtype) == ((1797, 8, 8), np.uint8, 16, np.int64)
    assert np.bincount(y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]
    digest = hashlib.sha256(X.tobytes() + y.astype(np.uint8).tobytes()).hexdigest()
    assert digest == "87ff0c9e40dc7e2c0e34e7257799c2e3f3aec1a016363bb11cad869ec428a826"
