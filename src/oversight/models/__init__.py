"""Who learns: checkpoints, features, probes and the bag of words."""

from __future__ import annotations

ABOUT: dict[str, str] = {
    "bow": "TF-IDF of words and pairs of words with logistic regression",
    "minilm": "all-MiniLM-L6-v2, 6 blocks of 384 (embedded; extra `demo`); minilm@0 to minilm@6",
    "DIR": "any encoder or decoder saved by save_pretrained, e.g. ./my-model@4",
    "org/name[#revision]": "any encoder or decoder of the Hugging Face Hub, e.g. EleutherAI/pythia-160m@6",
    "labels:FILE": "answers that exist already, such as people's (as a supervisor only)",
    "boost:MODEL[:ROUNDS]": "MODEL boosted (SAMME), 5 members unless said otherwise (as a supervisor only)",
}
