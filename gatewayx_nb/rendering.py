"""Pure strings: model text to safe HTML, tables, truncation."""
