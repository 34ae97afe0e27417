"""Everything that draws: samples, sheets, attention maps, animations, pages."""
