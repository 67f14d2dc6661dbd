"""Runs file.py:function. The module it imports is compiled once and cached; this file is not."""
import weir_launcher

weir_launcher.main()
