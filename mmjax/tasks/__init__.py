"""One file a task; importing this registers the built-in ones."""

from mmjax.tasks import classification as classification
from mmjax.tasks import reconstruction as reconstruction
