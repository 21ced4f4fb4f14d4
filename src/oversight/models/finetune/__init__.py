"""Fine-tuning: networks trained on labels, all of their weights or adapters beside them."""
