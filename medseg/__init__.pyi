from medseg.api.runs import Run as Run
from medseg.api.runs import run as run
from medseg.api.scores import evaluate as evaluate
from medseg.api.segmentation import Segmentation as Segmentation
from medseg.api.segmentation import load_model as load_model
from medseg.api.segmentation import segment as segment
from medseg.errors import MedsegError as MedsegError
from medseg.infer.loading import Model as Model

__version__: str
__all__: list[str]
