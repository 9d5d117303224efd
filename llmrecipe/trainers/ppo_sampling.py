"""Answers from the policy, by Transformers or by vLLM."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from transformers import (
    GenerationConfig,
    LogitsProcessor,
    LogitsProcessorList,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)
from trl.distributed import DistributedBackend
from trl.generation.vllm_generation import VLLMGeneration
from trl.models.utils import unwrap_model_for_generation

from llmrecipe.stages.place import StageError
from llmrecipe.trainers.ppo_config import PPOConfig

Tokens = list[list[int]]


class InverseTransform(LogitsProcessor):  # type: ignore[misc]
    """Draws each token from uniform numbers that were fixed before: the score of the drawn token is 0, others -inf.

    So what an answer becomes depends on its own numbers alone: not on the other rows of its batch, not on how rows are
    spread over processes, not on what was drawn before.
    """

    def __init__(self, uniform: torch.Tensor, prompt_length: int) -> None:
        """`uniform`: [batch, longest completion] in [0, 1); row and column say what it is for."""
        self.uniform = uniform
        self.prompt_length = prompt_length

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """The drawn token alone; `input_ids` [batch, so far], `scores` [batch, vocabulary]."""
        cumulative = scores.double().softmax(-1).cumsum(-1)
        point = self.uniform[:, input_ids.shape[1] - self.prompt_length].unsqueeze(1) * cumulative[:, -1:]
        drawn = torch.searchsorted(cumulative, point, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(1, drawn, 0.0)


def uniform_numbers(seed: int, rollout: int, rows: int, length: int) -> torch.Tensor:
    """What the answers of one rollout are drawn from: [rows, length], the same on every process and machine."""
    generator = torch.Generator().manual_seed((seed * 1_000_003 + rollout) % 2**63)
    return torch.rand(rows, length, generator=generator, dtype=torch.float64)


def padded(rows: Sequence[Sequence[int]], pad: int, left: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of different lengths as ids and mask, [rows, longest] each."""
    longest = max(map(len, rows))
    ids = torch.full((len(rows), longest), pad)
    mask = torch.zeros(len(rows), longest, dtype=torch.long)
    for i, row in enumerate(rows):
        place = slice(longest - len(row), longest) if left else slice(0, len(row))
        ids[i, place] = torch.tensor(row)
        mask[i, place] = 1
    return ids, mask


class TransformersSampler:
    """Answers by `generate`, a few prompts at a time."""

    def __init__(self, trainer: Any, stop: frozenset[int], pad: int) -> None:
        self.trainer = trainer
        self.stop = stop
        self.pad = pad

    def __call__(self, prompts: Tokens, uniform: torch.Tensor | None) -> Tokens:
        """Completions up to and with the token that ends them.

        `uniform`: [prompts, longest completion], what to draw from; None takes the likeliest token each time.
        """
        size = self.trainer.args.local_rollout_forward_batch_size
        with self._model() as model:
            starts = range(0, len(prompts), size)
            return [
                row
                for i in starts
                for row in self._batch(model, prompts[i : i + size], None if uniform is None else uniform[i : i + size])
            ]

    @contextmanager
    def _model(self) -> Iterator[Any]:
        """The policy with its value, ready to generate on every process, however its weights are spread."""
        trainer = self.trainer
        gathered: Any = nullcontext(trainer.model)
        if DistributedBackend(trainer.accelerator).is_zero3:
            gathered = unwrap_model_for_generation(
                trainer.model_wrapped,
                trainer.accelerator,
                gather_deepspeed3_params=trainer.args.ds3_gather_for_generation,
            )
        training = trainer.model.training
        trainer.model.eval()
        with gathered as model, trainer.accelerator.autocast():
            yield model
        trainer.model.train(training)

    def _batch(self, model: Any, prompts: Tokens, uniform: torch.Tensor | None) -> Tokens:
        args: PPOConfig = self.trainer.args
        ids, mask = (part.to(args.device) for part in padded(prompts, self.pad, left=True))
        processors = LogitsProcessorList()
        if uniform is not None:
            processors = self._processors(args, uniform.to(args.device), ids.shape[1])
        spread = DistributedBackend(self.trainer.accelerator)
        found = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=self._configuration(args),
            logits_processor=processors,
            synced_gpus=args.world_size > 1 and (spread.is_zero3 or spread.is_fsdp),
        )
        return [self._cut(row) for row in found[:, ids.shape[1] :].tolist()]

    def _configuration(self, args: PPOConfig) -> GenerationConfig:
        # What is left out here would come from the model's own file: sampling is to be what training takes it for.
        return GenerationConfig(
            max_new_tokens=args.max_completion_length,
            min_new_tokens=args.min_completion_length,
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            no_repeat_ngram_size=0,
            use_cache=True,
            eos_token_id=sorted(self.stop),
            pad_token_id=self.pad,
            disable_compile=True,
        )

    @staticmethod
    def _processors(args: PPOConfig, uniform: torch.Tensor, prompt_length: int) -> LogitsProcessorList:
        found = LogitsProcessorList()
        if args.temperature != 1:
            found.append(TemperatureLogitsWarper(float(args.temperature)))
        if args.top_k:
            found.append(TopKLogitsWarper(args.top_k))
        if args.top_p < 1:
            found.append(TopPLogitsWarper(args.top_p))
        found.append(InverseTransform(uniform, prompt_length))
        return found

    def _cut(self, row: list[int]) -> list[int]:
        end = next((i for i, token in enumerate(row) if token in self.stop), len(row) - 1)
        return row[: end + 1]


class VLLMSampler:
    """Answers by vLLM, whose weights follow those of the policy."""

    def __init__(self, trainer: Any, stop: frozenset[int]) -> None:
        """
        Raises:
            StageError: vLLM is not installed.
        """
        args: PPOConfig = trainer.args
        if importlib.util.find_spec("vllm") is None:
            raise StageError("`use_vllm` is set, and vLLM is not installed here", "pip install 'trl[vllm]'")
        self.trainer = trainer
        self.pushed: int | None = None
        self.engine = VLLMGeneration(
            model=trainer.model.policy,
            accelerator=trainer.accelerator,
            processing_class=trainer.processing_class,
            mode=args.vllm_mode,
            server_base_url=args.vllm_server_base_url,
            server_timeout=args.vllm_server_timeout,
            tensor_parallel_size=args.vllm_tensor_parallel_size,
            gpu_memory_utilization=args.vllm_gpu_memory_utilization,
            max_model_length=args.vllm_max_model_length,
            max_num_seqs=args.local_rollout_forward_batch_size * args.vllm_tensor_parallel_size,
            enable_sleep_mode=args.vllm_enable_sleep_mode,
            temperature=args.temperature,
            top_p=args.top_p,
            top_k=args.top_k,
            max_completion_length=args.max_completion_length,
            generation_kwargs={"stop_token_ids": sorted(stop), "min_tokens": args.min_completion_length},
        )

    def __call__(self, prompts: Tokens, uniform: torch.Tensor | None) -> Tokens:
        """Completions up to and with the token that ends them; vLLM draws by its own numbers.

        `uniform`: None takes the likeliest token each time.
        """
        step = self.trainer.state.global_step
        if self.pushed != step:
            self.engine.sync_weights()
            self.pushed = step
        with self._greedy() if uniform is None else nullcontext():
            _, completions, _, _ = self.engine.generate(prompts=prompts, images=None, num_generations=1)
        return [list(row) for row in completions]

    @contextmanager
    def _greedy(self) -> Iterator[None]:
        before, self.engine.temperature = self.engine.temperature, 0.0
        try:
            yield
        finally:
            self.engine.temperature = before
