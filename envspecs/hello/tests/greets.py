"""The greeter answers with a greeting and a time."""
import os
import re
import urllib.request

answer = urllib.request.urlopen(os.environ["GREETER"], timeout=5).read().decode()
print(answer, end="")
assert re.fullmatch(r"Hello! It is \d\d:\d\d\.\n", answer), answer
