"""What storage drivers share that refer to series by ids: ids, columns, answers to queries."""
