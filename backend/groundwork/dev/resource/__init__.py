"""`make resource`: writes a resource from one line, the same that `docs/add-a-resource.md` builds by hand.

`line` reads the command, `members` has the types, `tree` collects what is written, and the other modules have the text
of one file each.
"""
