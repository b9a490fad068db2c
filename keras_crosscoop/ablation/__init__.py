"""Does cooperation help, and which part of it? The paper's tables, trained and measured under identical conditions."""

from keras_crosscoop.ablation.ablating import ablate
from keras_crosscoop.ablation.telling import as_json, write_results

__all__ = ["ablate", "as_json", "write_results"]
