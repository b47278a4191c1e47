from .claims.verdicts import judge as judge
from .core.config import InputError as InputError
from .core.config import RunConfig as RunConfig
from .core.config import grid as grid
from .core.estimates import intervals as intervals
from .core.estimates import paired_differences as paired_differences
from .core.initialization import build as build
from .core.paths import interpolate_parameters as interpolate_parameters
from .core.plateaus import only_fitted as only_fitted
from .core.plateaus import plateau as plateau
from .figures.kinds import curve_figure as curve_figure
from .figures.kinds import dot_figure as dot_figure
from .figures.kinds import forest_figure as forest_figure
from .figures.kinds import xy_figure as xy_figure
from .figures.moving import show_interactive as show_interactive
from .figures.show import glue as glue
from .figures.show import show as show
from .figures.tables import show_intervals as show_intervals
from .figures.tables import show_table as show_table
from .runs.images import load_data as load_data
from .runs.measured import interpolate as interpolate
from .runs.trained import Run as Run
from .runs.trained import table as table
from .runs.trained import train as train

__version__: str
