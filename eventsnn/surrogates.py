from dataclasses import dataclass
import numpy as np
class Surrogate:
    pass
@dataclass(frozen=True)
class Arctan(Surrogate):
    alpha: float = 2.0
    def apply(self, x, out):
        a = x.dtype.type(self.alpha)
        out[:] = (a/2)/(1+(x.dtype.type(np.pi)*a*x/2)**2)
@dataclass(frozen=True)
class ReLUDerivative(Surrogate):
    def apply(self, x, out):
        out[:] = x >= 0
