"""JSRT: 247 chest radiographs with masks of lungs, heart and clavicles."""
