"""The Python interface; `import medseg` offers its names, and loads each part when it is first used."""
