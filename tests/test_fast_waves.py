"""The transforms of fast_waves against NumPy's."""

from __future__ import annotations

import numpy as np
import pytest

from tsslbp_ref.engine import fast_waves


def rows_of(spectrum, middle):
    """The rows that `fast_waves.analyse` lists, from all n m complex frequencies of one picture.

    Those that are not their own mirror image are counted from the middle (y, x) of the rectangle.
    """
    n, m = spectrum.shape
    alone, pairs = ([0, n // 2] if n % 2 == 0 else [0]), range(1, (n + 1) // 2)
    turned = dict.fromkeys(alone, 1.0)
    turned |= {j: np.exp(2j * np.pi * j * middle[0] / n) for k in pairs for j in (k, -k)}
    rows = []
    for k in [0, m // 2] if m % 2 == 0 else [0]:
        column = {j: spectrum[j, k] * turned[j] for j in turned}
        rows += [[column[j].real] for j in alone]
        rows += [[column[j].real, column[j].imag] for j in pairs]
    for k in range(1, (m + 1) // 2):
        turn = np.exp(2j * np.pi * k * middle[1] / m)
        column = {j: spectrum[j, k] * turned[j] * turn for j in turned}
        for j in [*alone, *(sign * j for j in pairs for sign in (1, -1))]:
            rows.append([column[j].real, column[j].imag])
    return rows


@pytest.mark.parametrize("torus", [(1, 1), (2, 3), (3, 2), (4, 6), (5, 5), (12, 9)])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_analyse_is_the_discrete_fourier_transform_and_synthesise_its_inverse(torus, dtype):
    first, size = (1, (torus[0] - 2, torus[1] - 1)) if min(torus) > 2 else (0, torus)
    transform = fast_waves.transform(torus, first, size, dtype)
    places = np.random.default_rng(0).normal(size=(*size, 7)).astype(dtype)
    padded = np.zeros((*torus, 7))
    padded[first : first + size[0], first : first + size[1]] = places
    middle = [first + (n_places - 1) / 2 for n_places in size]
    expected = [rows_of(np.fft.fft2(padded[:, :, number]), middle) for number in range(7)]
    assert [len(rows) for rows in expected[0]] == fast_waves.rows_by_frequency(torus)

    rows = np.full((torus[0] * torus[1], 7), np.nan, dtype)
    fast_waves.analyse(places, transform, rows)
    tolerance = 10 * len(rows) * np.finfo(dtype).eps
    np.testing.assert_allclose(rows, np.array([np.concatenate(parts) for parts in expected]).T, rtol=0, atol=tolerance)

    again = np.empty_like(places)
    fast_waves.synthesise(rows, transform, again)
    np.testing.assert_allclose(again, places, rtol=0, atol=tolerance)
