from .config import EditConfig as EditConfig
from .edits import EditResult as EditResult
from .edits import edit as edit
from .edits import image_to_image as image_to_image
from .edits import text_to_image as text_to_image
from .preserve.hints import Objects as Objects
