"""Who learns: checkpoints, features, probes and the bag of words."""

from __future__ import annotations

ABOUT: dict[str, str] = {
    "bow": "TF-IDF of words and pairs of words with logistic regression",
    "minilm": "all-MiniLM-L6-v2, 6 blocks of 384 (embedded; extra `demo`); minilm@0 to minilm@6",
    "ladder:RUNG": "a small decoder grown in a made-up world: early-s, narrow-m, xl, ... (embedded)",
    "DIR": "any encoder or decoder saved by save_pretrained, e.g. ./my-model@4",
    "org/name[#revision]": "any encoder or decoder of the Hugging Face Hub, e.g. EleutherAI/pythia-160m@6",
    "labels:FILE": "answers that exist already, such as people's (as a supervisor only)",
    "boost:MODEL[:ROUNDS]": "MODEL boosted (SAMME), 5 members unless said otherwise (as a supervisor only)",
    "flipped:RATE": "planted: the truth, every row wrong with this probability (as a supervisor only)",
    "planted:STRUCTURE:RATE": "planted: the truth, wrong on this share of the rows, STRUCTURE of random, longest, "
    "shortest, unconfident, confident (as a supervisor only)",
}
