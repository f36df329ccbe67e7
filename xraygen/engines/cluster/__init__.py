"""Work on files too large for one process, on a Ray cluster: the input is divided into shards, Ray
Data hands them to actors, each of which holds a model, and every shard becomes one file of results.

shards  the input as shards, and the rows of one
job     what is done with the rows
parts   the folder of results: a file for each shard, and a manifest
run     the shards that are missing, put to actors
"""
