"""Qwen-VL's processor without its video processor, which needs torchvision."""

from transformers.processing_utils import ProcessorMixin


class Qwen2VLProcessor(ProcessorMixin):
    """Images and text to token ids and patches. Has the name of the class that it replaces, because
    the files of a saved processor contain that name.
    """

    return_mm_token_type_ids = True

    def __init__(self, image_processor=None, tokenizer=None, chat_template=None, **_):
        self.image_token = "<|image_pad|>"
        self.video_token = "<|video_pad|>"
        self.image_token_id = tokenizer.convert_tokens_to_ids(self.image_token)
        self.video_token_id = tokenizer.convert_tokens_to_ids(self.video_token)
        super().__init__(image_processor, tokenizer, chat_template=chat_template)

    def replace_image_token(self, image_inputs: dict, image_idx: int, **_) -> str:
        patches = int(image_inputs["image_grid_thw"][image_idx].prod())
        return self.image_token * (patches // self.image_processor.merge_size**2)

    def save_pretrained(self, save_directory, **settings):
        """Also writes preprocessor_config.json: the class that this one replaces, which servers
        use, reads the settings of its video processor from there.
        """
        self.image_processor.save_pretrained(save_directory)
        return super().save_pretrained(save_directory, **settings)

    @property
    def model_input_names(self):
        return [*super().model_input_names, "mm_token_type_ids"]
