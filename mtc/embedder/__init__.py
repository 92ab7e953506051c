"""An encoder with its tokenizer and prompts: loaded, used on texts, made smaller, averaged and saved."""
