"""Study files: TOML in, a checked `Study` out, every problem in one line. No JAX here, but in `parts` and beyond."""

from hepatojax.io.study.load import StudyFileError as StudyFileError
from hepatojax.io.study.load import load_study as load_study
from hepatojax.io.study.specification import OptimiseSpec as OptimiseSpec
from hepatojax.io.study.specification import Study as Study
from hepatojax.io.study.specification import WindowSpec as WindowSpec
