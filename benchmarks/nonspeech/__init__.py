"""Sound without speech, to see what is made up in it: noise, hum, tones, clicks, rooms and music, from fixed seeds."""
