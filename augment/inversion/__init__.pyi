from .anderson import Anderson
from .baselines.anderson_prior import AndersonPrior
from .baselines.ddim import DDIM
from .baselines.exact_dpm import ForwardStep, GradientDescent
from .baselines.newton_krylov import NewtonKrylov
from .baselines.noise_maps import edit_friendly
from .baselines.plain_newton import PlainNewton
from .baselines.renoise import ReNoise
from .baselines.rnri_released import RNRIReleased
from .equation import StepEquation
from .fixed_point import FixedPoint
from .inversion import Inversion, invert
from .rnri import RNRI
from .settings import SolverSettings, Stop, WarmStart
from .solver import Solution, Solver, Status, solve
from .solvers import SOLVERS, make_solver

__all__ = [
    "DDIM",
    "RNRI",
    "SOLVERS",
    "Anderson",
    "AndersonPrior",
    "FixedPoint",
    "ForwardStep",
    "GradientDescent",
    "Inversion",
    "NewtonKrylov",
    "PlainNewton",
    "RNRIReleased",
    "ReNoise",
    "Solution",
    "Solver",
    "SolverSettings",
    "Status",
    "StepEquation",
    "Stop",
    "WarmStart",
    "edit_friendly",
    "invert",
    "make_solver",
    "solve",
]
