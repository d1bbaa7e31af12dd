"""The template's machinery. You need not read it to do research; an update brings its improvements.

Where to look for a subject:

- the command line: cli.py (the order of its steps), options.py, start.py
- configs: configs.py, local_settings.py, class_changes.py, dictionaries.py, links.py, encoding.py
- error messages: messages.py, parse_errors.py, values.py, classes.py
- the run and the checkpoint from which a command starts: start_point.py, runs.py, run_directory.py, checkpoints.py,
  init_weights.py (`--init_from`), pretrained.py, new_run.py
- files of a run: record.py (run.json), results.py, saved_config.py (config.yaml), metrics_file.py,
  predictions.py, prediction_columns.py, prediction_files.py, png.py, masks.py, new_data.py, origin.py, secrets.py,
  plain_values.py
- checkpoints: best_checkpoint.py, checkpoint_files.py, averaged_weights.py, finite_weights.py
- resuming, bit for bit: resume.py, loop_position.py, metric_states.py, random_states.py, schedule_changes.py,
  nothing_left.py
- the end of a training: stopping.py (signals, such as Ctrl-C), training_end.py (why it has ended)
- callbacks and loggers of every run: run_callbacks.py, loggers.py, learning_rates.py, monitor.py, finders.py,
  progress.py, noise.py
- data: samplers.py, samples.py, download.py, picture_files.py, new_pictures.py
- git: git.py, commit.py
- where modules are imported from: import_path.py
"""
