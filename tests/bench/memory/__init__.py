"""Are memories told apart, merged and replaced as a person would? A labelled set in three languages, its figures."""
