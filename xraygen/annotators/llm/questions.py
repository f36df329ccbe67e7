"""What a model on a server is shown of a case, as the messages of a chat."""

from __future__ import annotations

import base64
import hashlib
import io
import json
from typing import TYPE_CHECKING, NamedTuple

from xraygen.annotators.as_trained import as_prompted, as_stated
from xraygen.annotators.base import Project
from xraygen.annotators.llm.settings import LlmSettings
from xraygen.annotators.llm.trained_on import TrainedOn
from xraygen.core.files import identity, sha256
from xraygen.core.pictures import UnreadablePicture, open_picture
from xraygen.core.study import Case, Image
from xraygen.engines.budget import VIEW, estimate
from xraygen.prompting import conversation
from xraygen.prompting.prompts import Prompts

if TYPE_CHECKING:
    from PIL.Image import Image as Picture


class Question(NamedTuple):
    """`key`: a hash of everything that the model is shown, and of a fine-tuned model itself."""

    case: Case
    turns: list[dict[str, str]]
    key: str


class Questions:
    """The questions of one approach."""

    def __init__(self, settings: LlmSettings, project: Project) -> None:
        self.images = project.images
        settings = settings.filled(project.regions)
        folder = str(project.root / settings.reads)
        trained = as_prompted(settings, project.llm, folder, project.where)
        self.shown = trained or as_stated(settings, project.llm)
        self.trained = TrainedOn(trained, folder, project.where) if trained else None
        self.prompts = self.trained or Prompts(settings, project.root, project.regions)
        # The name on the server stays when another model is trained.
        self._served = [identity(folder)] if trained else []

    def of(self, case: Case) -> Question | str:
        """The question about a case, or why there is nothing to ask."""
        if reason := conversation.skip_reason(case, self.shown.inputs):
            return reason
        turns = self.prompts.turns(case)
        try:
            visible = [[self._sha256(view), self.shown.max_pixels] for view in self.views(case)]
        except UnreadablePicture as error:
            return conversation.PictureProblem(error)
        content = json.dumps([turns, visible, *self._served]).encode()
        return Question(case, turns, hashlib.sha256(content).hexdigest())

    def views(self, case: Case) -> list[Image]:
        """The views that go along."""
        shown = self.shown
        return conversation.views(case)[: shown.max_views] if "image" in shown.inputs else []

    def tokens(self, question: Question, letters: float = 3.0) -> int:
        """An upper estimate of the tokens of the prompt. `letters`: characters per token."""
        return estimate(question.turns, letters) + VIEW * len(self.views(question.case))

    def messages(self, question: Question) -> list[dict]:
        """The turns, with the views before the text of the last one. UnreadablePicture: one of them
        cannot be read.
        """
        views = []
        for view in self.views(question.case):
            try:
                data = base64.b64encode(self._png(view.path)).decode()
            except UnreadablePicture as error:
                raise UnreadablePicture(f"study {question.case.id}: {error}") from None
            url = f"data:image/png;base64,{data}"
            views.append({"type": "image_url", "image_url": {"url": url}})
        if not views:
            return question.turns
        *turns, last = question.turns
        return [*turns, last | {"content": [*views, {"type": "text", "text": last["content"]}]}]

    def _sha256(self, view: Image) -> str:
        if view.sha256:
            return view.sha256
        path = self.images / view.path
        try:
            return sha256([path])
        except OSError as error:
            raise UnreadablePicture(
                f"{path}: {error.strerror}; fetch the images, or set inputs: report"
            ) from None

    def _png(self, path: str) -> bytes:
        """The picture as PNG, upright, in 8 bits: as a fine-tuned model was shown it in training,
        to a base model in grey and of at most `max_pixels`.
        """
        picture = open_picture(self.images / path)
        picture = self.trained.resized(picture) if self.trained else self._smaller(picture)
        file = io.BytesIO()
        picture.save(file, "PNG")
        return file.getvalue()

    def _smaller(self, picture: Picture) -> Picture:
        scale = (self.shown.max_pixels / (picture.width * picture.height)) ** 0.5
        if scale < 1:
            width = max(1, int(picture.width * scale))
            height = max(1, int(picture.height * scale))
            picture = picture.resize((width, height))
        return picture.convert("L")
