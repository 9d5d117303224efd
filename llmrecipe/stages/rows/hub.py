"""A dataset of the Hugging Face Hub -> rows. Imported only when a source is one, since `datasets` takes a second."""

from collections.abc import Iterator

import datasets

from llmrecipe.plan import PinnedDataset
from llmrecipe.stages.place import StageError
from llmrecipe.stages.rows.files import Located


def read_dataset(origin: PinnedDataset) -> Iterator[Located]:
    """Rows of one split, in its order.

    Raises:
        StageError: the dataset, its configuration, split or revision cannot be had; says why and what to do.
    """
    name = origin.dataset if origin.config is None else f"{origin.dataset} ({origin.config})"
    try:
        dataset = datasets.load_dataset(
            origin.dataset, name=origin.config, split=origin.split, revision=origin.revision
        )
    except datasets.exceptions.DatasetNotFoundError as error:
        raise StageError(f"the dataset {name} is not on the Hub, or not for you: {error}", NOT_THERE) from None
    except OSError as error:
        raise StageError(f"the dataset {name} cannot be reached: {error}", NOT_REACHED) from None
    except (ValueError, RuntimeError) as error:
        raise StageError(f"the dataset {name} cannot be read: {error}", NOT_READ) from None
    number = 0
    for batch in dataset.with_format("arrow").iter(batch_size=1000):
        for row in batch.to_pylist():
            number += 1
            yield f"{origin.dataset}:{origin.split}, row {number}", row


NOT_THERE = (
    "check `dataset` and `revision`; for a private or gated one accept its terms on its page and log in: "
    "`hf auth login`, or HF_TOKEN"
)
NOT_REACHED = (
    "check the network; without one, run once where there is one and take the cache along (HF_HOME), or "
    "download the files and use `kind: files`"
)
NOT_READ = "check `config`, `split` and `revision` against the dataset's page"
