"""`python -m tsslbp_ref` is `tsslbp-ref`."""

from tsslbp_ref.cli import main

raise SystemExit(main())
