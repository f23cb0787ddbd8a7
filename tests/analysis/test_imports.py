"""What importing the mathematics costs and drags in."""

import subprocess
import sys


def test_importing_and_decomposing_needs_neither_torch_nor_pandas_nor_scipy():
    code = (
        "import sys, biasvar.analysis as a;"
        "a.decompose([[[1.0, 2.0]]] * 4, [0]).corrected().totals();"
        "a.tradeoff_terms([[1.0, 2.0]], [[0.0, 1.5]], [0], temperature=2.0);"
        "print(sorted({m.split('.')[0] for m in sys.modules} & {'torch', 'pandas', 'scipy', 'sklearn', 'pyarrow'}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
