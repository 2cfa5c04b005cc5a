"""Rules as text: read, planned against what is there, compared, written (rule-format 1, 8, 9)."""
