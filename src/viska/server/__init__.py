"""`viska serve`: the hosted transcription API on one's own machine, and a page to use it from.

    settings.py      what can be set, by flags, environment and file
    app.py           routes; errors.py, access.py, observe.py what every request passes through
    uploads.py       a multipart body to fields and an unnamed file on the disk, within limits
    fields.py        fields to what is wanted of the recogniser
    recogniser.py    the seam to decoding: jobs; models.py: models in memory
    answers.py       transcripts to bodies; stream.py: segments to events

Nothing here decodes, and nothing opens a connection but the loading of a model that is not on the disk yet.
"""
